"""The rivals of a GPT."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.training.evaluation import IGNORED
from gptlib.viz import figures


def rnn_step(
    x: Float[Tensor, "batch d_in"],
    state: Float[Tensor, "batch d_state"],
    w_x: Float[Tensor, "d_in d_state"],
    w_state: Float[Tensor, "d_state d_state"],
    bias: Float[Tensor, " d_state"],
) -> Float[Tensor, "batch d_state"]:
    return torch.tanh(x @ w_x + state @ w_state + bias)


def gated(
    state: Float[Tensor, "batch d_state"],
    candidate: Float[Tensor, "batch d_state"],
    gate_logits: Float[Tensor, "batch d_state"],
) -> Float[Tensor, "batch d_state"]:
    keep = torch.sigmoid(gate_logits)
    return keep * state + (1 - keep) * candidate


def hide(
    tokens: Int[Tensor, " seq"],
    chosen: Bool[Tensor, " seq"],
    dice: Float[Tensor, " seq"],
    anything: Int[Tensor, " seq"],
    mask_token: int,
) -> tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]:
    inputs = tokens.clone()
    inputs[chosen & (dice < 0.9)] = anything[chosen & (dice < 0.9)]
    inputs[chosen & (dice < 0.8)] = mask_token
    targets = tokens.clone()
    targets[~chosen] = -100
    return inputs, targets


def cross_attention(
    x: Float[Tensor, "target d_model"],
    source: Float[Tensor, "source d_model"],
    is_word: Bool[Tensor, " source"],
    w_q: Float[Tensor, "d_model d_head"],
    w_k: Float[Tensor, "d_model d_head"],
    w_v: Float[Tensor, "d_model d_head"],
) -> Float[Tensor, "target d_head"]:
    queries, keys, values = x @ w_q, source @ w_k, source @ w_v
    scores = queries @ keys.T / keys.shape[1] ** 0.5  # (target, source)
    weights = scores.masked_fill(~is_word, -torch.inf).softmax(dim=-1)
    return weights @ values


def _cross_attention_by(
    x: Tensor, source: Tensor, is_word: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, wrong: str
) -> Tensor:
    """Cross-attention with one thing wrong."""
    queries = (source if wrong == "queries from source" else x) @ w_q
    keys = (x if wrong == "keys from x" else source) @ w_k
    values = (x if wrong == "keys from x" else source) @ w_v
    scores = queries @ keys.T
    if wrong != "not scaled":
        scores = scores / keys.shape[1] ** 0.5
    if wrong != "padding seen":
        scores = scores.masked_fill(~is_word, -torch.inf)
    if wrong == "causal":
        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
    return scores.softmax(dim=0 if wrong == "over queries" else -1) @ values


def steps(generator: Generator) -> Iterator[tuple[Tensor, ...]]:
    """An input, a state, two matrices and a bias. The middle one has as many inputs as states."""
    for batch, d_in, d_state in ((1, 1, 2), (2, 3, 3), (3, 2, 5)):
        shapes = ((batch, d_in), (batch, d_state), (d_in, d_state), (d_state, d_state), (d_state,))
        yield tuple(torch.randn(*shape, generator=generator) for shape in shapes)


def states_and_gates(generator: Generator) -> Iterator[tuple[Tensor, ...]]:
    for batch, d_state in ((1, 2), (2, 3), (4, 5)):
        yield tuple(torch.randn(batch, d_state, generator=generator) for _ in range(3))


def tokens_to_hide(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, int]]:
    """Every fate is among the chosen: hidden, replaced, kept. The mask token is 9 or 30."""
    for seq, vocab_size in ((5, 9), (9, 30)):
        tokens = torch.randint(0, vocab_size - 1, (seq,), generator=generator)
        anything = tokens + 1  # another token at every place
        chosen = torch.arange(seq) < 4
        dice = torch.full((seq,), 0.3)
        dice[:3] = torch.tensor([0.1, 0.85, 0.95])
        dice[-1] = 0.85  # not chosen, so its dice decide nothing
        order = torch.randperm(seq, generator=generator)
        yield tokens[order], chosen[order], dice[order], anything[order], vocab_size


def two_texts(generator: Generator) -> Iterator[tuple[Tensor, ...]]:
    """A text to write, a text to read, which of its places hold a word, and three matrices."""
    for target, source, d_model, d_head in ((3, 3, 2, 2), (4, 4, 3, 5), (2, 5, 4, 3)):
        is_word = torch.arange(source) < max(3, source - 1)
        x = torch.randn(target, d_model, generator=generator)
        read = torch.randn(source, d_model, generator=generator)
        matrices = [torch.randn(d_model, d_head, generator=generator) for _ in range(3)]
        yield (x, read, is_word, *matrices)


RNN_STEP = Exercise(
    name="rivals.rnn_step",
    reference=rnn_step,
    inputs=steps,
    buys="That line, once for each token, is all of an RNN.",
    hints=(
        "What was read and what is remembered are mixed, each by a matrix of its own, then bent.",
        "x (batch, d_in) times (d_in, d_state), state (batch, d_state) times (d_state, d_state): two terms of one shape.",
        "torch.tanh of x @ w_x plus state @ w_state plus bias.",
    ),
    misconceptions=(
        Misconception(
            "state_forgotten",
            "the old state has no say. Then each token is read as if it were the first.",
            lambda x, state, w_x, w_state, bias: torch.tanh(x @ w_x + bias),
        ),
        Misconception(
            "no_tanh",
            "nothing bends the sum. A state that is multiplied at every token then grows or dies without bound.",
            lambda x, state, w_x, w_state, bias: x @ w_x + state @ w_state + bias,
        ),
        Misconception(
            "state_unmixed",
            "the old state was added as it is. It goes through its own matrix first, inside the tanh.",
            lambda x, state, w_x, w_state, bias: torch.tanh(x @ w_x + state + bias),
        ),
        Misconception(
            "state_added_outside",
            "the old state was added after the tanh. That is a residual stream through time; an RNN replaces its state.",
            lambda x, state, w_x, w_state, bias: torch.tanh(x @ w_x + bias) + state @ w_state,
        ),
        Misconception(
            "sigmoid",
            "a sigmoid bends the sum. An RNN's state runs from -1 to 1: that is tanh.",
            lambda x, state, w_x, w_state, bias: torch.sigmoid(x @ w_x + state @ w_state + bias),
        ),
    ),
    minutes=4,
    difficulty=1,
)

GATED = Exercise(
    name="rivals.gated",
    reference=gated,
    inputs=states_and_gates,
    buys="This mix is how a GRU can keep a name for fifty tokens: a gate near 1 passes the state on untouched.",
    hints=(
        "The gate says, for each number of the state, how much of the old one stays. The rest comes from the new.",
        "A sigmoid turns gate_logits into shares between 0 and 1, of the shape (batch, d_state).",
        "With keep = sigmoid of gate_logits: keep times state, plus 1 minus keep times candidate.",
    ),
    misconceptions=(
        Misconception(
            "no_sigmoid",
            "the gate's logits were used as they are. A share lies between 0 and 1: that takes a sigmoid.",
            lambda state, candidate, gate_logits: gate_logits * state + (1 - gate_logits) * candidate,
        ),
        Misconception(
            "swapped",
            "the gate keeps the candidate. Here, as in torch, a gate near 1 keeps the old state.",
            lambda state, candidate, gate_logits: gated(candidate, state, gate_logits),
        ),
        Misconception(
            "not_a_share",
            "the whole candidate is added to what was kept. What is kept and what is new share the 1 between them.",
            lambda state, candidate, gate_logits: torch.sigmoid(gate_logits) * state + candidate,
        ),
        Misconception(
            "softmax",
            "the gate is a softmax over the state. Each number has a gate of its own, and all of them may be open.",
            lambda state, candidate, gate_logits: (
                gate_logits.softmax(dim=-1) * state + (1 - gate_logits.softmax(dim=-1)) * candidate
            ),
        ),
        Misconception(
            "one_gate_for_all",
            "one gate serves the whole state. A GRU keeps some numbers and replaces others.",
            lambda state, candidate, gate_logits: gated(
                state, candidate, gate_logits.mean(dim=-1, keepdim=True).expand_as(state)
            ),
        ),
    ),
    minutes=6,
    difficulty=2,
)

HIDE = Exercise(
    name="rivals.hide",
    reference=hide,
    inputs=tokens_to_hide,
    buys="From one text this makes a new riddle every time it is read.",
    hints=(
        "Two copies of the tokens: in one some are hidden, in the other all but those carry no loss.",
        "inputs and targets are both (seq,). Only `chosen` places differ from tokens in inputs, or count in targets.",
        "inputs: where chosen and dice < 0.8 the mask token, where chosen and dice from 0.8 to 0.9 anything, else tokens. "
        "targets: tokens where chosen, else -100.",
    ),
    misconceptions=(
        Misconception(
            "all_masked",
            "every chosen token became the mask token. One in ten becomes another token and one in ten stays, "
            "or the model would learn to think at masks alone.",
            lambda tokens, chosen, dice, anything, mask_token: (
                tokens.masked_fill(chosen, mask_token),
                tokens.masked_fill(~chosen, IGNORED),
            ),
        ),
        Misconception(
            "all_judged",
            "every place has a target. A token that the model can see is no riddle: its target is -100.",
            lambda tokens, chosen, dice, anything, mask_token: (
                hide(tokens, chosen, dice, anything, mask_token)[0],
                tokens,
            ),
        ),
        Misconception(
            "kept_not_judged",
            "a chosen token that stays as it is has no target. It is judged like the others: the model must not know "
            "that it may trust what it sees.",
            lambda tokens, chosen, dice, anything, mask_token: (
                hide(tokens, chosen, dice, anything, mask_token)[0],
                tokens.masked_fill(~(chosen & (dice < 0.9)), IGNORED),
            ),
        ),
        Misconception(
            "next_token",
            "the targets are shifted by one, as for GPT. A masked encoder names the token at the place itself.",
            lambda tokens, chosen, dice, anything, mask_token: (
                hide(tokens, chosen, dice, anything, mask_token)[0],
                tokens.roll(-1).masked_fill(~chosen, IGNORED),
            ),
        ),
        Misconception(
            "dice_for_all",
            "tokens that were not chosen were changed too. The dice decide only among the chosen.",
            lambda tokens, chosen, dice, anything, mask_token: (
                hide(tokens, torch.ones_like(chosen), dice, anything, mask_token)[:1]
                + (tokens.masked_fill(~chosen, IGNORED),)
            ),
        ),
    ),
    minutes=8,
    difficulty=2,
)

CROSS_ATTENTION = Exercise(
    name="rivals.cross_attention",
    reference=cross_attention,
    inputs=two_texts,
    buys="This is how one text looks into another, in the first Transformer and in every one that reads pictures or speech.",
    hints=(
        "Who asks? The text that is being written. Who is asked? The text that was read.",
        "queries (target, d_head), keys and values (source, d_head), so scores are (target, source). No causal mask.",
        "Queries from x, keys and values from source; scores over √d_head, -inf where is_word is False, softmax over the "
        "source, times values.",
    ),
    misconceptions=(
        Misconception(
            "queries_from_source",
            "the queries come from the source, so it attends to itself. The text that is being written asks.",
            lambda *inputs: _cross_attention_by(*inputs, "queries from source"),
        ),
        Misconception(
            "keys_from_x",
            "keys and values come from the text that is being written. That is self-attention: the source is never read.",
            lambda *inputs: _cross_attention_by(*inputs, "keys from x"),
        ),
        Misconception(
            "padding_seen",
            "the padding is attended to. Where `is_word` is False there is no word, and the score is minus infinity.",
            lambda *inputs: _cross_attention_by(*inputs, "padding seen"),
        ),
        Misconception(
            "causal",
            "a causal mask hides part of the source. All of it was there before the first word is written.",
            lambda *inputs: _cross_attention_by(*inputs, "causal"),
        ),
        Misconception(
            "not_scaled",
            "the scores are not divided by √d_head.",
            lambda *inputs: _cross_attention_by(*inputs, "not scaled"),
        ),
        Misconception(
            "over_the_queries",
            "the softmax runs over the queries. Each query has a weight of 1 to share among the words of the source.",
            lambda *inputs: _cross_attention_by(*inputs, "over queries"),
        ),
    ),
    minutes=10,
    difficulty=3,
)

LESSON = Lesson(
    topic="rivals",
    exercises=(RNN_STEP, GATED, HIDE, CROSS_ATTENTION),
    predictions=(
        Prediction(
            "rivals.left_over",
            "One state is multiplied by 0.9 at each word, and another keeps 0.99 of itself. How much of the first "
            "word's trace is left in each of them 64 words later?",
            (
                "less than a thousandth, and half",
                "$0.9^{64}$ is 0.001, and the tanh takes its share too; $0.99^{64}$ is 0.53. The factor decides.",
            ),
            (
                (
                    "a tenth less than before, and all",
                    "That is one step. The factor acts again at each of the 64 words.",
                ),
                (
                    "nothing in either: the state has only 16 numbers",
                    "A state can carry one thing for ever, however small it is, if it is left alone.",
                ),
            ),
            shows=lambda by_plain, by_gate: figures.line_chart(
                {"multiplied at every word": (range(65), by_plain), "kept by a gate": (range(65), by_gate)},
                title="A gate carries the first word through 64 others; plain multiplication loses it",
                x_label="words read since",
                y_label="share of the difference that is left",
                log_y=True,
            ),
            finding="A gate carries the first word through 64 others; plain multiplication loses it.",
        ),
        Prediction(
            "rivals.both_sides",
            "On how many of the eight words does an output of the encoder depend?",
            ("on all eight, everywhere", "There is no mask, so every token attends to every other."),
            (
                (
                    "on those up to its own place",
                    "That is the causal mask, which an encoder does not have.",
                ),
                (
                    "on all but its own",
                    "It sees itself too. That is why a word that is asked for has to be hidden.",
                ),
            ),
            shows=lambda seen, labels: figures.grid_heatmap(
                seen["encoder"] - seen["decoder"],
                labels,
                labels,
                title="What the encoder sees and a decoder does not: all that comes later",
                row_name="output at",
                column_name="depends on",
                label="1: only in the encoder",
                annotate=False,
            ),
            finding="There is no mask, so every output of the encoder depends on all eight words: on all that a "
            "decoder sees, and on all that comes later. So it cannot be trained as a GPT is: “say the next token” "
            "is no challenge to a model that has already read it.",
        ),
        Prediction(
            "rivals.finds_the_word",
            "How often does the best of the eight heads look at the English word whose Chinese is being written?",
            (
                "twice as often as straight across",
                "The order of the two languages differs, and the head follows the words, though not every time.",
            ),
            (
                (
                    "about as often as straight across",
                    "That would do if both languages had one order. They have not.",
                ),
                (
                    "about as often as chance: nobody taught it",
                    "Nobody told it the alignment. But the right character is predicted best from the right word.",
                ),
            ),
            shows=lambda scored, found: figures.bar_chart(
                ["a random look", "straight across", "mean of all heads", "the chosen head"],
                [scored.chance, scored.diagonal, scored.found.mean().item(), found],
                title=f"One head finds twice as many words as a look straight across ({scored.n_words} words)",
                label="share of words found",
                highlight=["the chosen head"],
            ),
            finding="One head finds more than twice as many words as a look straight across, and still fewer than "
            "half. Nobody told it which word belongs to which: the loss was on the Chinese characters alone. "
            "Cross-attention looks there because that is where the answer lies.",
        ),
        Prediction(
            "rivals.long_race",
            "Rivals of equal size have read ten times as much text as in the short race. Which of them has the "
            "lowest loss at the end?",
            (
                "a gated recurrent model, by a little",
                "The decoder started last and has nearly caught up: a fiftieth of a nat is missing.",
            ),
            (
                (
                    "the decoder, clearly: it sees every token",
                    "It could look anywhere. Three million tokens have not taught it where to look.",
                ),
                (
                    "the n-gram: it stores the most numbers",
                    "It stores what followed which few tokens. Most contexts it has never seen.",
                ),
            ),
            shows=lambda validation, floor, test: figures.loss_curves(
                {
                    name: ([n / 1000000.0 for n in run["tokens"]], run["loss"])
                    for name, run in validation.items()
                },
                floor=floor,
                marks={"n-gram": test["ngram"]["loss"]},
                title="Equal size, equal text: LSTM and GRU lead by a little, and none is near the floor",
                x_label="million tokens read",
            ),
            finding="The LSTM and the GRU end ahead of the decoder, by a little, and none is near the floor. The "
            "decoder was far behind at first and has nearly caught up.",
        ),
        Prediction(
            "rivals.far_names",
            "After three million tokens, which rivals know a name that was said fifty tokens ago?",
            (
                "none of them",
                "They have learned how stories go, but pay about $\\ln 40$ nats: any of the 40 names would do.",
            ),
            (
                (
                    "the decoder alone: attention sees any distance",
                    "It may see any distance. What it looks for has to be learned, and is not yet.",
                ),
                (
                    "the LSTM, the GRU and the decoder",
                    "A gate could keep a name, and attention could find it. Neither has been learned yet.",
                ),
            ),
            shows=lambda lines: figures.line_chart(
                lines,
                title="From nine tokens on, no rival knows the name; storyteller knows it from anywhere",
                x_label="tokens since the name was said",
                y_label="nats above the true surprise",
            ),
            finding="From nine tokens on, no rival knows the name. The lowest line is not a rival's: it is that of "
            "storyteller, which is also a decoder, but larger, and trained for much longer and in another way.",
        ),
    ),
    quiz=(
        Question(
            "rivals.cut_in_three",
            "A text of 300 tokens is read by a GRU in three pieces of 100, the state handed on. The logits?",
            (
                "the same as in one piece",
                "The state is all that it knows of the past. Hand it on, and nothing is lost.",
            ),
            (
                (
                    "worse after each cut",
                    "They would be if the state were set to zero. It was handed on.",
                ),
                (
                    "the same only if the gates are closed",
                    "Whatever the gates do, the next step needs the state and nothing else.",
                ),
            ),
        ),
        Question(
            "rivals.gate_of_one",
            "In a GRU all gates stay at 1 (keep everything) for a whole text. What comes out?",
            (
                "the same logits at every token",
                "The first state is never changed, so nothing of the text gets in.",
            ),
            (
                ("a perfect memory of the text", "To remember, something must be written first. Nothing is."),
                ("what a plain RNN would give", "A plain RNN replaces its whole state: gates at 0."),
                ("an exploding state", "It is copied, not multiplied: it stays as it was."),
            ),
        ),
        Question(
            "rivals.why_hide",
            "You train an encoder without a mask to name the token at each place, and hide nothing. The loss?",
            (
                "falls to nearly 0, and nothing is learned",
                "The answer is in the input. Copying it is the whole solution.",
            ),
            (
                (
                    "stays at $\\ln V$",
                    "That is a model which knows nothing. This one is shown the answer.",
                ),
                (
                    "falls to the entropy floor",
                    "The floor is for guessing what comes next. Here nothing is guessed.",
                ),
                (
                    "goes below 0",
                    "A cross-entropy with one right token is never below 0.",
                ),
            ),
        ),
        Question(
            "rivals.tokens_judged",
            "An encoder and a GPT both read a million tokens. From how many does each learn?",
            (
                "150,000 and a million",
                "The encoder is asked at 15% of the places, the GPT at each.",
            ),
            (
                ("a million each", "Where nothing is hidden, the encoder's target is ignored."),
                (
                    "120,000 and a million",
                    "80% of the chosen are masked. But the other 20% are asked for as well.",
                ),
                (
                    "850,000 and a million",
                    "85% are left as they are, and those carry no loss.",
                ),
            ),
        ),
        Question(
            "rivals.shape_of_cross",
            "The source has 9 tokens, 4 of the target are written, there are 2 heads. The cross-attention's weights?",
            (
                "2 × 4 × 9, and every row sums to 1",
                "For each head, each of the 4 queries shares its 1 among the 9 keys.",
            ),
            (
                (
                    "2 × 9 × 4, and every row sums to 1",
                    "Rows are queries, and the text that is written asks.",
                ),
                ("2 × 13 × 13, with a causal mask", "The two texts are not put one behind the other here."),
                ("2 × 4 × 9, with zeros above the diagonal", "All of the source may be looked at."),
            ),
        ),
        Question(
            "rivals.is_it_fair",
            "A paper: “Our LSTM has 20 million parameters, our Transformer 20 million in its blocks. Equal size.” Well?",
            (
                "only if embeddings count on both sides",
                "A table of 50,000 tokens can weigh more than the blocks. Count all or say which.",
            ),
            (
                (
                    "yes, embeddings do no work",
                    "They are learned and stored like all others, and hold what the model knows of words.",
                ),
                (
                    "no, they need equal layers",
                    "Layers of different kinds differ in size. There is no equal number of them.",
                ),
                (
                    "no, they need an equal width",
                    "At equal width an LSTM's layer and a block have different numbers of parameters.",
                ),
            ),
        ),
        Question(
            "rivals.endless",
            "A device must read a sensor for a year, one token a second, with 1 MB for its memory of the past. What fits?",
            (
                "a recurrent model",
                "Its state has one size for ever, and so has the cost of a token.",
            ),
            (
                ("a GPT with a cache", "Its keys and values grow with every token that it reads."),
                ("a masked encoder", "It reads a text as a whole, and again as a whole for each new token."),
                (
                    "an encoder–decoder",
                    "It keeps a vector for each token of its source.",
                ),
            ),
        ),
    ),
    objectives=(
        ("rivals.rnn_step", "rivals.gated", "rivals.cut_in_three", "rivals.gate_of_one"),
        ("rivals.hide", "rivals.both_sides", "rivals.why_hide"),
        ("rivals.cross_attention", "rivals.shape_of_cross", "rivals.finds_the_word"),
        ("rivals.is_it_fair", "rivals.tokens_judged", "rivals.long_race"),
        ("rivals.endless", "rivals.far_names"),
    ),
)
