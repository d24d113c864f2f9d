"""The glossary: each term of the field, one sentence, and the place in the notebooks where it first appears.

A notebook sets a term in bold or italics where it brings it in. That place is looked up, never written down
here, and so is the sentence, wherever it says what the term means. `TERMS` has a sentence of its own for the
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gptlib.course.prose import (
    CODE_OR_MATHS,
    NOTEBOOKS,
    blocks,
    items,
    notebook_paths,
    sentences,
    short_title,
)
from gptlib.files import write_atomically
from gptlib.places import is_checkout

GLOSSARY = NOTEBOOKS.parent / "docs" / "glossary.md"
# Sections that name what comes or what was, and introduce nothing.
OUTLINES = ("What you will be able to do", "Exercises", "Experiments", "Quiz", "Recap")


@dataclass(frozen=True)
class Term:
    """A term, what it means, and other ways in which a notebook may write it.

    Without a meaning, the sentence in which the notebook introduces the term is taken.
    elsewhere: what papers and other courses call it, for whoever comes from there.
    """

    name: str
    meaning: str = ""
    also: tuple[str, ...] = ()
    elsewhere: str = ""


@dataclass(frozen=True)
class Entry:
    """A term of the glossary with its sentence, and where it first appears."""

    term: str
    sentence: str
    notebook: Path
    title: str
    section: str
    elsewhere: str = ""


@dataclass(frozen=True)
class Passage:
    """A sentence of a notebook, with its place."""

    text: str
    notebook: Path
    title: str
    section: str


TERMS = (
    Term("activation", "Any tensor that a model computes on its way from tokens to logits."),
    Term(
        "activation patching",
        "Putting an activation of one run into another, to see whether it carries what the two differ in.",
    ),
    Term("AdamW"),
    Term("ALiBi", "A way to tell attention about distance: each score is lowered in proportion to it."),
    Term("all-reduce", "The exchange after which every worker holds the sum of what all of them held."),
    Term(
        "arithmetic intensity",
        "Operations for each byte that is moved; it decides whether arithmetic or memory is the limit.",
    ),
    Term("attention", "A weighted average of values, in which each position decides from whom it gathers."),
    Term(
        "attention pattern",
        "The weights of one head as a matrix: rows are queries, columns are keys.",
        ("sixteen patterns",),
    ),
    Term(
        "attention sink",
        "A place, often the first token, that takes attention which has nowhere else to go.",
    ),
    Term(
        "backpropagation",
        "Computing all gradients in one pass: from the loss back through each step of the model.",
    ),
    Term("batch", "Several sequences that a model processes at once, side by side in one tensor."),
    Term(
        "beam search",
        "A search for a likely text: several grow side by side, and the likeliest stay.",
    ),
    Term("bias", "A learned vector that a layer adds to its result, whatever its input."),
    Term("bigram", "An n-gram of two tokens: the next one is guessed from the last one alone."),
    Term(
        "bits per byte",
        "A loss that does not depend on the tokenizer: all surprise in bits, per byte of text.",
    ),
    Term(
        "block",
        "The layer that a GPT repeats: attention and an MLP, each with a norm and a residual connection.",
    ),
    Term(
        "bootstrap",
        "Fitting again, many times, to data drawn from the data with replacement, to see how sure a fit is.",
    ),
    Term(
        "byte-pair encoding (BPE)",
        "A way to learn a vocabulary: again and again, merge the pair of neighbors that is most frequent.",
        ("byte-pair encoding", "BPE"),
    ),
    Term("catastrophic forgetting", "Losing what a model could do, while it is trained on something else."),
    Term("causal attention", "Attention in which no position can see a later one.", ("causal",)),
    Term(
        "causal mask",
        "The mask that hides from each query every key that comes after it.",
        elsewhere="look-ahead mask",
    ),
    Term(
        "chain rule",
        "A text's probability is the product of those of its pieces, each given the pieces before it.",
    ),
    Term("checkpoint", "All that a training run needs to go on later, saved in a file."),
    Term(
        "chrF",
        "How well two texts agree in runs of one to six characters; what is missing weighs more.",
    ),
    Term("clipping", also=("gradient clipping",), elsewhere="gradient clipping"),
    Term("conditional probability", "How likely something is, given that something else is known."),
    Term("context", "The tokens that a model has before it when it guesses the next one."),
    Term(
        "context length",
        "The largest number of tokens that a model can read at once.",
        ("context_length",),
        elsewhere="context window or block size",
    ),
    Term(
        "control",
        "The same measurement where a claim should not hold; without it no number says anything.",
    ),
    Term("corpus", "The collection of texts that a model learns from."),
    Term(
        "cross-attention",
        "Attention in which the queries come from one text and the keys and values from another.",
        elsewhere="encoder–decoder attention",
    ),
    Term(
        "cross-entropy",
        "The mean surprise of a model, in nats, at what really came next: the loss of this course.",
    ),
    Term("d_head", "The length of the queries, keys and values of one head; papers write it d_k.", ("d_k",)),
    Term(
        "d_model",
        "The width of a model: how many numbers its vector for each position has.",
        elsewhere="hidden size",
    ),
    Term(
        "data parallelism",
        "Several workers read different parts of a batch with the same weights, and add up their gradients.",
    ),
    Term(
        "decode",
        "The part of writing in which each new token is read alone, with the others in the cache.",
    ),
    Term(
        "direct logit attribution",
        "A logit taken apart into what each head and each MLP adds to it by itself.",
    ),
    Term("dot product"),
    Term(
        "dropout", "Setting random activations to 0 while training, so that a model relies on none of them."
    ),
    Term(
        "early stopping",
        "Ending a training run when the held-out loss has not fallen for a while, and keeping the best.",
    ),
    Term("embedding", "A table with one learned vector for each token, and the vector that it gives."),
    Term("encode", "To turn a text into tokens.", ("encoding",)),
    Term(
        "end of text",
        "A special token that marks where one document ends and the next begins.",
        elsewhere="EOS",
    ),
    Term("entropy", "The mean surprise of whoever knows the true probabilities: what cannot be foreseen."),
    Term(
        "entropy floor",
        also=("floor",),
        meaning="The lowest loss that any model can reach on a source of text.",
    ),
    Term("F1", "How well two lists agree: twice the hits, divided by the items of both."),
    Term("feature", "One of the numbers in a vector that a model computes."),
    Term("fine-tuning", "Training a trained model further, on texts of the task that it is meant for."),
    Term("FLOPs", "Floating-point operations, the measure of how much computing something takes."),
    Term(
        "FSDP",
        "Data parallelism in which workers keep parts of weights, gradients and optimizer, not copies.",
    ),
    Term("full fine-tuning", "Training all weights of a trained model on, on a new task."),
    Term("GELU"),
    Term("generation", "Writing with a model: guess the next token, append it, and start again."),
    Term(
        "GPT", "A stack of blocks between an embedding and an unembedding, trained to guess the next token."
    ),
    Term("gradient", "For each parameter, how much the loss changes when the parameter does."),
    Term(
        "gradient accumulation",
        "Reading a batch in pieces, one after another, and adding up their gradients before the update.",
    ),
    Term(
        "gradient descent",
        "Learning by small steps against the gradient, each of which lowers the loss a little.",
    ),
    Term("greedy decoding", "Always taking the likeliest next token.", ("greedy",)),
    Term(
        "grouped-query attention",
        "Attention in which several heads of queries share the keys and values of one.",
        elsewhere="GQA",
    ),
    Term("GRU", "A recurrent network with gates that decide how much of its state is kept."),
    Term(
        "head",
        "One attention with its own queries, keys and values; a layer has several, side by side.",
        ("attention head",),
    ),
    Term("hook"),
    Term(
        "induction heads",
        "Heads that look at what followed an earlier copy of the token at hand, and so let a model repeat.",
    ),
    Term(
        "initialization",
        "How the initial weights of a model are drawn, before any training.",
        ("initial weights",),
    ),
    Term("IsoFLOP", "Said of runs, or of a curve through them, that all cost the same number of operations."),
    Term("key", "What a position can be found by: a vector that queries are compared with."),
    Term(
        "key/value cache",
        "The keys and values of all tokens read so far, kept so that each new token costs one step.",
        ("keys and values",),
        elsewhere="KV cache",
    ),
    Term("language model"),
    Term("layer", "One of the steps, alike in shape, that a model applies one after the other."),
    Term(
        "LayerNorm",
        "Rescaling each vector to mean 0 and variance 1, over its own features.",
        elsewhere="layer normalization",
    ),
    Term("learning rate", "The size of a training step.", elsewhere="step size"),
    Term(
        "linear layer",
        "A layer that multiplies by a learned matrix and may add a bias.",
        ("nn.Linear",),
        elsewhere="fully connected or dense layer",
    ),
    Term(
        "load-balance loss",
        "What a model pays in training for sending most tokens to the same few experts.",
    ),
    Term(
        "logit difference",
        "The logit of one token minus that of another: how much a model prefers the first.",
    ),
    Term(
        "logit lens",
        "Reading the residual stream of an earlier layer as if it were the end of the model.",
    ),
    Term("logit soft-capping", "A bound that scores or logits approach and never pass."),
    Term("logits", "The scores that a model gives to every possible next token, before the softmax."),
    Term(
        "LoRA",
        "Fine-tuning that leaves the weights as they are and learns a change of low rank beside them.",
    ),
    Term(
        "loss",
        "The number that training makes small: here, the mean surprise at what came next.",
        ("the loss",),
    ),
    Term("LSTM", "A recurrent network with a second state, written and erased through gates."),
    Term("mask", "A grid that says which keys a query may look at."),
    Term("merge", "The step of byte-pair encoding that makes one new token of two neighbors."),
    Term("merging", "Adding what LoRA learned to the weights, so that the model is a plain one again."),
    Term("minimum length", "The number of tokens before which a text is not allowed to end."),
    Term("mixture of experts", "Several MLPs in a block, of which each token uses a few.", elsewhere="MoE"),
    Term(
        "MLP",
        "The part of a block that works on each position alone: two linear layers with a bend between.",
        elsewhere="feed-forward network, FFN",
    ),
    Term("multi-head attention", "Several heads side by side, whose outputs are joined and mixed."),
    Term(
        "Muon",
        "An optimizer that takes each weight matrix as a whole, and steps equally far in all its directions.",
    ),
    Term("n-gram", "n tokens in a row; counting them gives a model that guesses from the last n − 1."),
    Term("nat", "The unit of surprise with the natural logarithm; one nat is about 1.44 bits."),
    Term(
        "neural network",
        "Layers with learned weights, one after another, with a bend between them.",
        ("network",),
    ),
    Term("neuron", "One number inside an MLP: it reads one direction of the stream and writes another."),
    Term(
        "norm",
        "A layer that brings vectors to one size, so that what follows need not care how long they are.",
    ),
    Term("one-hot", "A row of zeros with a single 1, at the place of what it stands for."),
    Term("optimizer", "The rule that turns gradients into changes of the parameters."),
    Term(
        "overfitting",
        "Learning the training texts by heart: their loss falls, and the loss on new texts rises.",
    ),
    Term("parameter", "A number that training sets; the weights of a model are its parameters."),
    Term(
        "patching",
        "Putting what a model computed on one text into its run on another, to see what it carries.",
    ),
    Term("patience", "How many measurements of the held-out loss may fail to fall before a run is stopped."),
    Term("permutation equivariant", "Shuffle the inputs, and the outputs are the same ones, shuffled alike."),
    Term(
        "perplexity", "e to the power of the loss: among how many equally likely choices a model hesitates."
    ),
    Term(
        "pickle",
        "Python's own format for objects; opening one runs whatever it says, so weights should not be one.",
        ("pickles",),
    ),
    Term(
        "positional embedding",
        "A vector for each position, added to that of the token, so that a model can tell the order.",
        ("learned positions", "position embedding"),
        elsewhere="positional encoding",
    ),
    Term(
        "power law",
        "A relation that is a straight line where both axes are logarithmic: y is a times x to the b.",
    ),
    Term("pre-norm", "Normalizing what goes into a branch, and leaving the residual stream as it is."),
    Term("prefill", "Reading the whole prompt in one pass, before the first new token."),
    Term(
        "probability distribution",
        "A share for each possible outcome; all together sum to 1.",
        ("distribution",),
    ),
    Term(
        "QK-norm",
        "A norm on each head's queries and keys, so that no score is large because a vector is long.",
    ),
    Term("query", "What a position looks for: a vector that is compared with all keys."),
    Term(
        "recurrent network",
        "A model that reads one token at a time and carries what it knows in one vector.",
        ("recurrent",),
        elsewhere="RNN",
    ),
    Term(
        "residual connection",
        "Adding a layer's answer to its input, instead of putting it in its place.",
        elsewhere="skip connection",
    ),
    Term(
        "residual stream", "The vectors that run through all blocks, to which each part adds what it finds."
    ),
    Term("RMSNorm", "A norm that divides a vector by its root mean square and leaves its mean alone."),
    Term("roofline", "The most that work of a given arithmetic intensity can reach on a machine."),
    Term(
        "rotary positions",
        "Positions told by turning queries and keys, each by an angle that grows with its place.",
        ("rotary", "RoPE"),
        elsewhere="RoPE",
    ),
    Term("router", "The small layer that chooses the experts for each token."),
    Term("safetensors", "A file of numbers with names and shapes, which can do nothing when it is opened."),
    Term("sampling"),
    Term("saturated", "So far toward one end that the gradient is nearly 0.", ("saturates",)),
    Term(
        "scaling law",
        "How the loss falls with parameters, tokens and operations, as a formula that is fitted to runs.",
    ),
    Term("schedule", "How the learning rate changes in the course of a training run."),
    Term("score", "How well a query fits a key, before the softmax: their dot product, scaled."),
    Term("seed", "The number that a random generator starts from; the same seed gives the same draws."),
    Term("shape", "How many entries a tensor has along each of its dimensions."),
    Term(
        "sinusoidal positions",
        "Positions told by sines and cosines of many frequencies.",
        ("sines", "sinusoidal"),
    ),
    Term("sliding window", "Attention that sees only the last so many tokens."),
    Term("smoothing", "Giving what was never seen a little probability.", ("mix",)),
    Term(
        "soft dictionary",
        "A look-up that returns an average of all values, weighted by how well their keys fit.",
    ),
    Term("softmax", "Makes shares of scores: exp of each, divided by the sum of all."),
    Term("special token", also=("special tokens",)),
    Term(
        "split pattern",
        "The rule by which a text is cut into pieces before the merges, so that none crosses a gap.",
    ),
    Term("storyteller", "The small GPT that comes with the course, trained on Storyworld."),
    Term(
        "Storyworld",
        "The course's story generator, which knows the exact probability of every story it tells.",
    ),
    Term("surprise", elsewhere="surprisal, negative log-likelihood"),
    Term("SwiGLU", "An MLP with a gate: one widened copy of the input opens and closes another."),
    Term("targets"),
    Term("temperature"),
    Term("tensor", "torch's grid of numbers: a vector, a matrix, or one with more dimensions."),
    Term("token", "A piece of text that a model reads and writes as one: a word, a part of one, a sign."),
    Term("tokenizer"),
    Term("top-k"),
    Term("top-p", elsewhere="nucleus sampling"),
    Term("training set", "The texts that a model learns from.", ("training",)),
    Term("transformer", "The family of models, built of attention and MLPs, to which GPT belongs."),
    Term(
        "unembedding",
        "The last matrix of a GPT: from a vector to a logit for every token.",
        elsewhere="language-model head",
    ),
    Term(
        "validation set",
        "Texts that a model never learns from, on which it is judged.",
        ("validation",),
        elsewhere="development set",
    ),
    Term("value", "What a position hands over when it is found."),
    Term(
        "vanishing gradient",
        "A gradient so small that nothing is learned from it.",
        ("gradient vanishes", "vanishes"),
    ),
    Term("variance", "The mean squared distance from the mean."),
    Term("vector", "A row of numbers; here it says something about a token."),
    Term("vocabulary", "All the tokens that a tokenizer knows.", ("vocab_size", "vocab")),
    Term("warm-up", "The first steps of training, in which the learning rate rises from almost nothing."),
    Term("weight decay", "Pulling weights a little toward 0 at each step.", ("the decay",)),
    Term(
        "weight tying",
        "Using one matrix both as the embedding and as the unembedding.",
        elsewhere="tied embeddings",
    ),
    Term(
        "weights",
        "After the softmax: the shares with which attention averages; also the matrices of a model.",
    ),
)


def glossary() -> list[Entry]:
    """All entries, in alphabetical order.

    Raises LookupError, naming the term, when no notebook mentions one, or none introduces it in a sentence.
    """
    passages = list(_passages())
    return sorted((_entry(term, passages) for term in TERMS), key=lambda entry: entry.term.lower())


def write_glossary() -> Path:
    """Write the glossary as Markdown to docs/glossary.md of the checkout, and return the file's path.

    Raises FileNotFoundError where gptlib is installed without a checkout: there is no docs/ then.
    """
    if not is_checkout():
        raise FileNotFoundError(
            "the glossary is a page of the course's repository, docs/glossary.md; an installed gptlib has no "
            "docs/ to write it to, so call this from a checkout"
        )
    return write_atomically(GLOSSARY, lambda file: file.write(as_markdown(glossary()).encode()))


def as_markdown(entries: list[Entry]) -> str:
    """The glossary's page."""
    lines = [
        "# Glossary",
        "",
        f"{len(entries)} terms, each with the place where the course first brings it in.",
        "Made from the notebooks by `gptlib glossary`.",
    ]
    letter = ""
    for entry in entries:
        if entry.term[0].upper() != letter:
            letter = entry.term[0].upper()
            lines += ["", f"## {letter}", ""]
        # JupyterLab's own form of a heading's address.
        anchor = "#" + quote(entry.section.replace(" ", "-"), safe="") if entry.section else ""
        link = f"[{entry.title}](../notebooks/{entry.notebook.name}{anchor})"
        section = f", “{entry.section}”" if entry.section else ""
        elsewhere = f" (elsewhere {entry.elsewhere})" if entry.elsewhere else ""
        lines.append(f"- **{entry.term}**{elsewhere}: {entry.sentence} <br>{link}{section}")
    return "\n".join(lines) + "\n"


def _passages() -> Iterator[Passage]:
    """Every sentence and heading of every notebook, in the order in which a reader meets them."""
    import nbformat

    for path in notebook_paths():
        title, section = short_title(path), ""
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "markdown":
                continue
            for block in blocks(cell.source):
                if block.kind == "heading":
                    section = block.text if block.level == 2 else section
                    yield Passage(block.text, path, title, section)
                elif block.kind != "fence":
                    said = items(block.text) if block.kind == "list" else sentences(block.text)
                    yield from (Passage(text, path, title, section) for text in said)


def _entry(term: Term, passages: list[Passage]) -> Entry:
    names = (term.name, *term.also)
    forms = "|".join(rf"{re.escape(name)}(?:e?s)?" for name in names)
    marked = re.compile(rf"(\*{{1,2}})(?:{forms})\1(?!\*)", re.IGNORECASE)
    named = re.compile(rf"(?<![\w-])(?:{forms})(?![\w-])", re.IGNORECASE)
    telling = [passage for passage in passages if passage.section not in OUTLINES]
    introduced = [passage for passage in telling if marked.search(passage.text)]
    if introduced:
        found = introduced[0]
    elif not term.meaning:
        raise LookupError(
            f"no notebook sets {term.name!r} in bold or italics where it brings it in; "
            "do that, or give the term a meaning in TERMS"
        )
    else:
        prose = [passage for passage in telling if named.search(CODE_OR_MATHS.sub(" ", passage.text))]
        found = next(iter(prose or [passage for passage in passages if named.search(passage.text)]), None)
        if found is None:
            raise LookupError(f"no notebook mentions {term.name!r}; take it out of TERMS")
    meaning = term.meaning or _alone(found.text)
    return Entry(term.name, meaning, found.notebook, found.title, found.section, term.elsewhere)


def _alone(sentence: str) -> str:
    """A sentence that stands by itself: without marks, links, and what ties it to the one before."""
    plain = re.sub(r"(?<!\*)(\*{1,2})(?! )([^*]+)\1", r"\2", sentence)
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", plain)
    plain = re.sub(r"^(So|And|But|Last|Now),? (?=[a-z])", "", plain)
    return plain[0].upper() + plain[1:]
