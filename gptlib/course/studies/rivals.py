"""What else could model a language, built so that it can be compared with a GPT.

RecurrentModel    a state that is carried from token to token: RNN, LSTM or GRU
MaskedEncoder     attention to both sides, and the objective that goes with it: fill in what was hidden (BERT)
EncoderDecoder    an encoder that reads one text, a decoder that writes another and looks at it (Vaswani)

The n-gram is in `gptlib.text.ngram`; the decoder alone is `gptlib.GPT`. `width_for` makes them equally large.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gptlib.files import read_tensors, write_tensors
from gptlib.model.attention import MultiHeadAttention, attention_weights
from gptlib.model.blocks import MLP_CLASSES
from gptlib.model.checks import check_width
from gptlib.model.config import INITIAL_STD, GPTConfig
from gptlib.model.fast_attention import fast_attention
from gptlib.model.gpt import draw_weights
from gptlib.model.norms import NORM_CLASSES
from gptlib.model.positions import EMBEDDING_POSITIONS
from gptlib.shipped import data_folder, read_checked
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile
from gptlib.text.storyworld.bilingual import AlignedSentence, Span
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.evaluation import IGNORED

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
# A recurrent model's state: (layer, batch, d_model), or two of that shape for an LSTM.
State = Tensor | tuple[Tensor, Tensor]
TOLERANCE = 0.02  # how far apart, as a share, the sizes of models may be that are called equally large


# -------------------------------------------------------------------------------- a state carried along


@dataclass(frozen=True)
class RecurrentConfig:
    """The shape of a `RecurrentModel`. It has no context_length: a state can be carried on for ever.

    cell        what carries it: rnn, lstm or gru
    vocab_size  how many different tokens there are
    n_layers    how many cells are stacked
    d_model     the width of an embedding and of each cell's state

    Raises ValueError for a size below 1 or an unknown cell.
    """

    cell: str
    vocab_size: int
    n_layers: int
    d_model: int

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}; it needs to be one of {', '.join(CELLS)}")
        for name in ("vocab_size", "n_layers", "d_model"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it needs to be at least 1")


class RecurrentModel(nn.Module):
    """A language model whose whole memory of the past is a state of fixed size.

    Its ends are a GPT's (embedding, final norm, tied unembedding); between them stand torch's own cells.
    RNN: Elman 1990, "Finding Structure in Time"; Mikolov et al. 2010, section 2. LSTM: Hochreiter and
    Schmidhuber 1997, section 4. GRU: Cho et al. 2014, section 2.3.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        # Tied embeddings start small, and a cell needs inputs of about size 1.
        self.embedding_norm = nn.LayerNorm(config.d_model)
        self.cells = CELLS[config.cell](config.d_model, config.d_model, config.n_layers, batch_first=True)
        self.final_norm = nn.LayerNorm(config.d_model)
        nn.init.normal_(self.token_embedding.weight, std=INITIAL_STD)

    def forward(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the token after each position, from a state of zeros. Raises as `read` does."""
        return self.read(tokens)[0]

    def read(
        self, tokens: Int[Tensor, "batch seq"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch seq vocab"], State]:
        """Read on from `state` (None: zeros). Returns the logits after each position, and the new state.

        Raises ValueError when tokens are not (batch, seq), IndexError for one outside the vocabulary.
        """
        _check_tokens("tokens", tokens, self.config.vocab_size)
        x = self.embedding_norm(self.token_embedding(tokens))  # (batch, seq) -> (batch, seq, d_model)
        x, state = self.cells(x, state)
        return F.linear(self.final_norm(x), self.token_embedding.weight), state


# ------------------------------------------------------------------------------- attention without a mask


class OpenAttention(nn.Module):
    """Attention that hides no later position: to both sides of one's own text, or to another text.

    `weights` is the place at which to look, as in `MultiHeadAttention`.
    Vaswani et al. 2017, section 3.2.3, the first and second of its three uses.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.key_value = nn.Linear(config.d_model, 2 * config.d_model, bias=config.bias)
        self.weights = nn.Identity()
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        source: Float[Tensor, "batch key d_model"],
        source_mask: Bool[Tensor, "batch key"] | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Queries come from x, keys and values from source; source_mask is False where source is padding."""
        check_width(x, self.config.d_model)
        check_width(source, self.config.d_model)
        queries = self.split_heads(self.query(x))
        keys, values = self.key_value(source).chunk(2, dim=-1)
        keys, values = self.split_heads(keys), self.split_heads(values)
        mask = None
        if source_mask is not None:  # (batch, key) -> (batch, 1, query, key): the same for every query
            mask = source_mask[:, None, None, :].expand(-1, -1, x.shape[1], -1)
        if self.weights._forward_hooks:
            mixed = self.weights(attention_weights(queries, keys, mask)) @ values
        else:
            mixed = fast_attention(queries, keys, values, mask)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (batch, head, seq, d_head) -> (batch, seq, …)

    def split_heads(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch head seq d_head"]:
        """Give each head its share of the width."""
        return x.unflatten(-1, (self.config.n_heads, -1)).transpose(1, 2)


class EncoderBlock(nn.Module):
    """A GPT's block with attention to both sides. Norms come first, as there; the original's come last."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = NORM_CLASSES[config.norm](config)
        self.attention = OpenAttention(config)
        self.mlp_norm = NORM_CLASSES[config.norm](config)
        self.mlp = MLP_CLASSES[config.mlp](config)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], mask: Bool[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, mask)
        return x + self.mlp(self.mlp_norm(x))


class Encoder(nn.Module):
    """Tokens in, one vector for each out, every one of which has seen all the others.

    Raises ValueError when config asks for what an encoder here has not: positions inside attention, shared
    keys, dropout.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        _check_config("config", config)
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position = EMBEDDING_POSITIONS[config.position](config)
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_layers))
        self.final_norm = NORM_CLASSES[config.norm](config)

    def forward(
        self, tokens: Int[Tensor, "batch seq"], mask: Bool[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """mask is False where tokens are padding. Raises as `GPT.forward` does."""
        _check_tokens("tokens", tokens, self.config.vocab_size, self.config.context_length)
        x = self.position(self.token_embedding(tokens))  # (batch, seq) -> (batch, seq, d_model)
        for block in self.blocks:
            x = block(x, mask)
        return self.final_norm(x)


# ---------------------------------------------------------------------------------- fill in what is hidden


class MaskedEncoder(nn.Module):
    """An encoder that says, at each position, which token stands there: BERT without its second task.

    It knows one token more than config.vocab_size: `mask_token`, which stands for a hidden one and is never
    an answer. Devlin et al. 2018, "BERT", section 3.1, task 1.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.mask_token = config.vocab_size
        self.encoder = Encoder(replace(config, vocab_size=config.vocab_size + 1))
        draw_weights(self, config.n_layers)

    def forward(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the token *at* each position, not of the one after it. Raises as `GPT.forward` does."""
        return F.linear(self.encoder(tokens), self.encoder.token_embedding.weight[: self.mask_token])


def hide_tokens(
    tokens: Int[Tensor, "batch seq"],
    vocab_size: int,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """What a masked encoder learns from: (inputs, targets), both of the shape of `tokens`.

    A `share` of the tokens is chosen. Of these 80% become the mask token, whose number is vocab_size, 10% a
    random token, and 10% stay as they are, so that the model cannot trust what it sees. Targets hold the
    chosen tokens and are IGNORED elsewhere. At least one token is chosen.
    Devlin et al. 2018, "BERT", section 3.1 and appendix A.1.
    Raises ValueError when share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it needs to be above 0 and at most 1 (BERT's is 0.15)")
    fate = torch.rand(tokens.shape, generator=generator)
    chosen = fate < share
    chosen |= (fate == fate.min()) & ~chosen.any()  # or a short text might teach nothing
    what = torch.rand(tokens.shape, generator=generator)
    anything = torch.randint(vocab_size, tokens.shape, generator=generator)
    inputs = torch.where(chosen & (what < 0.9), anything, tokens)
    inputs = inputs.masked_fill(chosen & (what < 0.8), vocab_size)
    return inputs, tokens.masked_fill(~chosen, IGNORED)


class HiddenTokens(TokenFile):
    """A token file whose batches are for a masked encoder: `gptlib.train` then needs nothing new.

    HiddenTokens.of(data, vocab_size) reads the same tokens as data. Which are hidden is drawn from the
    generator that draws the windows.
    """

    @classmethod
    def of(cls, data: TokenFile, vocab_size: int) -> HiddenTokens:
        hidden = cls.from_tokens(data.tokens)
        hidden.end_of_text = data.end_of_text
        hidden.vocab_size = vocab_size
        return hidden

    def batch(
        self,
        batch_size: int,
        context_length: int,
        generator: torch.Generator | None = None,
        at_document_starts: bool = False,
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """As in TokenFile, but some inputs are hidden, and targets are what was hidden, at the same place."""
        tokens, _ = super().batch(batch_size, context_length, generator, at_document_starts)
        return hide_tokens(tokens, self.vocab_size, generator)


# ------------------------------------------------------------------------------- one text into another


class DecoderBlock(nn.Module):
    """A GPT's block with a third branch between its two: attention to what the encoder has read."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = NORM_CLASSES[config.norm](config)
        self.attention = MultiHeadAttention(config)
        self.cross_attention_norm = NORM_CLASSES[config.norm](config)
        self.cross_attention = OpenAttention(config)
        self.mlp_norm = NORM_CLASSES[config.norm](config)
        self.mlp = MLP_CLASSES[config.mlp](config)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        source: Float[Tensor, "batch source d_model"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        x = x + self.attention(self.attention_norm(x))
        x = x + self.cross_attention(self.cross_attention_norm(x), source, source_mask)
        return x + self.mlp(self.mlp_norm(x))


class EncoderDecoder(nn.Module):
    """The original Transformer, with our blocks: reads a text of one language, writes one of another.

    encoder, decoder: a config for each side; the two need the same d_model. The unembedding is tied to the
    decoder's embedding. Vaswani et al. 2017, "Attention Is All You Need", section 3.1 and figure 1.
    Raises ValueError when the configs do not fit each other.
    """

    def __init__(self, encoder: GPTConfig, decoder: GPTConfig) -> None:
        super().__init__()
        if encoder.d_model != decoder.d_model:
            raise ValueError(
                f"encoder has d_model = {encoder.d_model} and decoder {decoder.d_model}; cross-attention "
                "needs the same in both"
            )
        _check_config("decoder", decoder)
        self.config = decoder
        self.encoder = Encoder(encoder)
        self.token_embedding = nn.Embedding(decoder.vocab_size, decoder.d_model)
        self.position = EMBEDDING_POSITIONS[decoder.position](decoder)
        self.blocks = nn.ModuleList(DecoderBlock(decoder) for _ in range(decoder.n_layers))
        self.final_norm = NORM_CLASSES[decoder.norm](decoder)
        draw_weights(self, decoder.n_layers)

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        tokens: Int[Tensor, "batch seq"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the token after each of `tokens`, given all of source; source_mask is False at padding.

        Raises as `GPT.forward` does, for either text.
        """
        _check_tokens("source", source, self.encoder.config.vocab_size, self.encoder.config.context_length)
        _check_tokens("tokens", tokens, self.config.vocab_size, self.config.context_length)
        read = self.encoder(source, source_mask)
        x = self.position(self.token_embedding(tokens))  # (batch, seq) -> (batch, seq, d_model)
        for block in self.blocks:
            x = block(x, read, source_mask)
        return F.linear(self.final_norm(x), self.token_embedding.weight)

    @torch.no_grad()
    def cross_attention(
        self,
        source: Int[Tensor, "batch source"],
        tokens: Int[Tensor, "batch seq"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "layer batch head seq source"]:
        """Where each position of `tokens` looks in the source: every row sums to 1. Raises as `forward`."""
        found: list[Tensor] = []

        def look(module: nn.Module, inputs: tuple[Tensor, ...], weights: Tensor) -> None:
            found.append(weights)

        hooks = [block.cross_attention.weights.register_forward_hook(look) for block in self.blocks]
        try:
            self(source, tokens, source_mask)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(found)

    @torch.no_grad()
    def translate(
        self, source: Int[Tensor, "1 source"], start: int, end: int, max_new_tokens: int
    ) -> list[int]:
        """The likeliest next token, again and again, after `start`, until `end` comes; `end` is left out."""
        tokens = [start]
        while len(tokens) <= max_new_tokens:
            logits = self(source, torch.tensor([tokens], device=source.device))
            token = int(logits[0, -1].argmax())
            if token == end:
                break
            tokens.append(token)
        return tokens[1:]


# ------------------------------------------------------------------------------- the translator in data/

TRANSLATOR = "rivals/translator.safetensors"
TRANSLATOR_FORMAT = "gptlib translator 1"


def save_translator(model: EncoderDecoder, english: Tokenizer, chinese: CharacterTokenizer) -> None:
    """Write the weights, in half precision, and both tokenizers to data/rivals/ for `load_translator`."""
    folder = data_folder() / "rivals"
    shapes = {"encoder": asdict(model.encoder.config), "decoder": asdict(model.config)}
    weights = {name: weight.detach().half() for name, weight in model.state_dict().items()}
    about = {"format": TRANSLATOR_FORMAT, "shapes": json.dumps(shapes)}
    write_tensors(data_folder() / TRANSLATOR, weights, about)
    english.save(folder / "english.json")
    chinese.save(folder / "chinese.json")


def load_translator() -> tuple[EncoderDecoder, Tokenizer, CharacterTokenizer]:
    """The trained translator of Storyworld's sentences, and the tokenizers of its two languages.

    Raises ValueError for a file that is not as its checksum says, FileNotFoundError for a missing one.
    """
    for name in (TRANSLATOR, "rivals/english.json", "rivals/chinese.json"):
        read_checked(name)
    weights, about = read_tensors(data_folder() / TRANSLATOR)
    shapes = json.loads(about["shapes"])
    # These initial weights are thrown away; the caller's random numbers go on as if none had been drawn.
    with torch.random.fork_rng(devices=[]):
        model = EncoderDecoder(GPTConfig(**shapes["encoder"]), GPTConfig(**shapes["decoder"]))
    model.load_state_dict(weights)
    folder = data_folder() / "rivals"
    return (
        model.eval(),
        Tokenizer.load(folder / "english.json"),
        CharacterTokenizer.load(folder / "chinese.json"),
    )


@dataclass(frozen=True)
class Alignment:
    """How often each head of the cross-attention looks at the English word whose Chinese is being written.

    found     share of words, (layer, head)
    chance    the share that a look at a random token would find
    diagonal  the share that a look at the same relative place of the sentence would find
    n_words   how many words were looked for
    """

    found: Float[Tensor, "layer head"]
    chance: float
    diagonal: float
    n_words: int


def alignment(
    model: EncoderDecoder,
    english: Tokenizer | CharacterTokenizer,
    chinese: Tokenizer | CharacterTokenizer,
    pairs: Sequence[AlignedSentence],
) -> Alignment:
    """Score the cross-attention against Storyworld's own alignment of its two languages.

    A look counts when the token with the largest weight, as the word's first character is written, lies in
    the aligned word. Raises ValueError when no pair has a word to look for.
    """
    hits, chance, diagonal = [], [], []
    for pair in pairs:
        source, target = english.encode(pair.english), chinese.encode(pair.chinese)
        spans = english.spans(pair.english)
        tokens = torch.tensor([[chinese.end_of_text, *target]])
        weights = model.cross_attention(torch.tensor([source]), tokens)[:, 0]  # (layer, head, seq, source)
        for link in pair.links:
            if link.form not in ("", "at"):  # a measure word or a pronoun is no word of the English sentence
                continue
            place = link.chinese[0]  # the row that writes this character: it has read those before it
            aligned = torch.tensor([_overlaps(span, link.english) for span in spans])
            hits.append(aligned[weights[:, :, place].argmax(dim=-1)])  # (layer, head)
            chance.append(aligned.float().mean().item())
            diagonal.append(aligned[place * len(source) // len(target)].item())
    if not hits:
        raise ValueError(f"pairs holds {len(pairs)} sentences and no linked word; give more of them")
    n_words = len(hits)
    return Alignment(
        torch.stack(hits).float().mean(dim=0), sum(chance) / n_words, sum(diagonal) / n_words, n_words
    )


def _overlaps(span: Span, places: Sequence[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in places)


# -------------------------------------------------------------------------------------- a fair comparison


def n_parameters(model: nn.Module) -> int:
    """How many numbers a model learns; one that is used twice counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def width_for(wanted: int, build: Callable[[int], nn.Module], multiple_of: int = 1) -> int:
    """The d_model for which build(d_model) comes nearest to `wanted` parameters, all embeddings included.

    Models are built on torch's meta device, without numbers. multiple_of: n_heads, where heads share d_model.
    Raises ValueError when the nearest is more than 2% off, naming the sizes on both sides.
    """

    def size(width: int) -> int:
        with torch.device("meta"):
            return n_parameters(build(width))

    widths = range(multiple_of, 10_000, multiple_of)
    above = bisect_left(widths, wanted, key=size)
    sizes = {width: size(width) for width in widths[max(0, above - 1) : above + 1]}
    nearest = min(sizes, key=lambda width: abs(sizes[width] - wanted))
    if abs(sizes[nearest] - wanted) > TOLERANCE * wanted:
        around = " and ".join(f"d_model = {width} has {size:,}" for width, size in sizes.items())
        raise ValueError(f"wanted is {wanted:,}, and no width comes within {TOLERANCE:.0%}: {around}")
    return nearest


def _check_config(name: str, config: GPTConfig) -> None:
    if config.position not in ("none", "learned", "sinusoidal"):
        raise ValueError(
            f"{name} has position = {config.position!r}; with attention to both sides it needs to be none, "
            "learned or sinusoidal"
        )
    if config.kv_heads != config.n_heads or config.dropout:
        raise ValueError(
            f"{name} has n_kv_heads = {config.kv_heads} and dropout = {config.dropout}; it needs "
            f"n_kv_heads = n_heads = {config.n_heads} and dropout = 0"
        )


def _check_tokens(name: str, tokens: Tensor, vocab_size: int, context_length: int | None = None) -> None:
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(tokens.shape)}; it needs (batch, seq), each at least 1")
    if context_length is not None and tokens.shape[1] > context_length:
        raise ValueError(
            f"{name} has {tokens.shape[1]} tokens; context_length is {context_length}, "
            f"so at most {context_length} fit"
        )
    if tokens.device.type != "meta" and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise IndexError(
            f"{name} holds {tokens.min()} to {tokens.max()}; vocab_size is {vocab_size}, so tokens are "
            f"0 to {vocab_size - 1}"
        )
