"""Writing by hand: take the next token or sample it, go back to another, and see where each head looked."""

from __future__ import annotations

from contextlib import nullcontext
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from traitlets import Enum, Int, List, TraitError, Tuple, Unicode, validate
from traitlets import Float as FloatTrait

from gptlib.generation.sampling import Sampling, can_choose, draw, next_token_distribution
from gptlib.generation.writing import last_logits
from gptlib.interpret.tracing import trace
from gptlib.model.cache import KeyValueCache
from gptlib.model.checks import check_tokens, check_vocabulary
from gptlib.model.finiteness import why_not_finite
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing, readable
from gptlib.viz.explorers.changes import heads_by_row
from gptlib.viz.explorers.explorer import Explorer
from gptlib.viz.explorers.reading import alone, document, in_use, numbers, on_the_page
from gptlib.viz.explorers.words import START, words_of

N_BARS = 10  # tokens with a bar of their own
N_ROADS = 4  # likeliest tokens kept at each step behind: the one taken, and three roads not taken
SENTENCE = 20  # tokens after which a sample ends, should its sentence not
FILE_LOGITS = 480_000  # bytes of logits in a file, and of attention, which becomes half as long when packed:
FILE_WEIGHTS = 240_000  # as base64 both together leave it below a megabyte
FILE_NODES = 400  # places of the tree in a file


class GenerationExplorer(Explorer):
    """The next token under temperature, top-k and top-p; a text that grows as you take tokens; the
    alternatives at each step as a tree; and for each token taken, where every head looked when it was chosen.

    model: the GPT that writes; tokenizer: the one that it was trained with.
    prompt: the text to go on from. An empty one begins a new document, as in `gptlib.generate`.
    temperature, top_k, top_p: as in `gptlib.generate`; None keeps every token.

    The state is in traits, which can be read and set: `prompt`, `path` (the tokens taken after it), `tree`
    (each road walked to its end, as a list of tokens), `temperature`, `top_k`, `top_p`, and `seed`. The dice
    of place n are the n-th of the seed, so a text that is sampled throughout is the text that
    `generate(…, seed=seed)` writes. Surprise is −log p under the model itself, in nats: no temperature.

    With `view = "attention"` the model's attention is read as well: `step` is the token of the path whose
    choice is looked at (-1: the one that comes next), `head` the (layer, head) whose weights shade the text;
    the copy heads of a GPT that has any are as one more layer. A token is chosen from what the model gives at
    the token before it, so the weights are those of that one as the query.

    Raises TypeError or ValueError, by the argument's name, for what cannot work.
    """

    title = "Text generation, token by token"
    script = "generation.js"

    prompt = Unicode(help="the text to go on from").tag(sync=True, asks="answer")
    path = List(Int(), help="the tokens taken after the prompt").tag(sync=True, asks="answer")
    tree = List(List(Int()), help="each road walked, to its end").tag(sync=True, asks="answer")
    wanted = Int(0, help="how many tokens the page asks to sample").tag(sync=True, asks="answer")
    temperature = FloatTrait(1.0, help="0 is greedy").tag(sync=True)
    top_k = Int(None, allow_none=True, help="how many tokens are kept").tag(sync=True)
    top_p = FloatTrait(None, allow_none=True, help="how much probability is kept").tag(sync=True)
    seed = Int(0, help="which dice are thrown").tag(sync=True)
    view = Enum(["surprise", "attention"], "surprise", help="what is shown of the text").tag(
        sync=True, asks="details"
    )
    step = Int(-1, help="the token of the path whose choice is looked at; -1: the next").tag(
        sync=True, asks="details"
    )
    head = Tuple(Int(), Int(), default_value=None, allow_none=True, help="(layer, head)").tag(sync=True)

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer | CharacterTokenizer,
        prompt: str = "",
        temperature: float | int = 1.0,
        top_k: int | None = None,
        top_p: float | int | None = None,
    ) -> None:
        _check_arguments(model, tokenizer, prompt, temperature, top_k, top_p)
        self.model, self.tokenizer = model, tokenizer
        config = model.config
        self._shape = (config.n_layers, config.n_heads, config.copy_heads or 0)
        self._recorded: tuple[list[int], Tensor, Tensor] | None = None  # tokens, their logits and weights
        self._shown = {"prompt": prompt, "path": [], "tree": [], "wanted": 0}
        super().__init__(prompt=prompt, temperature=float(temperature), top_k=top_k, top_p=top_p)
        self.begin()

    # ------------------------------------------------------------------------------------------ in Python

    @property
    def text(self) -> str:
        """The prompt and the tokens taken after it."""
        return self.prompt + self.tokenizer.decode(self.path)

    @alone
    def sample(self, max_new_tokens: int = SENTENCE) -> str:
        """Take tokens by the dice, at most `max_new_tokens` and no further than the end of the sentence.

        Returns the whole text. Raises ValueError when the context is full or the text has ended.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; it needs to be at least 1")
        self.path = self._sampled(self._start, self.path, max_new_tokens)
        return self.text

    @alone
    def looks_at(self, n: int = 5) -> list[tuple[str, float]]:
        """The n tokens that the chosen head looked at most when the token at `step` was chosen, with their
        weights, the largest first. For the view "attention"; raises ValueError in another.
        """
        if self.view != "attention":
            raise ValueError(f"view is {self.view!r}; it needs to be 'attention', or no weights are recorded")
        row, words = self._row(), self._words()
        largest = row.argsort(descending=True, stable=True)[:n].tolist()
        return [(words[key], row[key].item()) for key in largest]

    def figure(self) -> Drawing:
        """The likeliest next tokens under the present settings, beside the model's own probabilities; or
        where the chosen head looked.
        """
        if self.view == "attention":
            row = self._row().numpy()
            words = self._words()
            chosen = f"“{readable(words[len(row)])}” was" if len(row) < len(words) else "the next token is"
            return figures.text_strip(
                words[: len(row)],
                row,
                label="attention weight",
                title=f"Where {self._head_name} looked when {chosen} chosen",
                largest=1.0,
            )
        logits = self._latest
        own = logits.softmax(-1)
        dice = next_token_distribution(logits, self._sampling())
        pieces = [""] * len(logits)
        for token in own.argsort(descending=True, stable=True)[:N_BARS].tolist():
            pieces[token] = self._piece(token)
        text = self.text.replace("\n", " ")
        after = f"“{'…' if len(text) > 40 else ''}{text[-40:]}”" if text else "the beginning of a text"
        settings = ", ".join(self._settings())
        return figures.next_token_bars(
            own,
            pieces,
            compare=dice if settings else None,
            title=f"How likely each next token is after {after}",
            names=("the model", f"with {settings}"),
        )

    def page_state(self) -> dict[str, Any]:
        """All that the page knows, as it is in a file: with every place of the tree that has room in it."""
        state = super().page_state()
        nodes: dict[str, dict[str, Any]] = {}
        start, head = self._start, None
        room, room_for_weights = FILE_LOGITS, FILE_WEIGHTS
        for road in [self.path, *reversed(self.tree)]:
            logits, weights = self._read([*start, *road], record=True)
            head = head or self.head or self._most_to_show(weights)
            logits = logits[-len(road) - 1 :]  # (step, vocab)
            totals = logits.logsumexp(-1)
            for step in range(len(road), -1, -1):
                if _key(road[:step]) in nodes or len(nodes) == FILE_NODES:
                    continue
                with_logits = (size := logits[step].numel() * 4) <= room
                room -= size * with_logits
                rows = _rows(weights, len(start) + step)
                if (size := rows.numel() * 2) <= room_for_weights:
                    room_for_weights -= size
                else:
                    rows = None
                node = self._node(road[:step], logits[step], totals[step], N_BARS, with_logits, rows)
                nodes[_key(road[:step])] = node
        return state | {
            "answer": self.answer | {"nodes": nodes},
            "details": {"text": self._plain_text(), "head": head},
        }

    def __repr__(self) -> str:
        settings = "".join(f", {setting}" for setting in self._settings())
        return f"GenerationExplorer({self.text[-40:]!r}, {len(self.path)} tokens taken{settings})"

    def _settings(self) -> list[str]:
        """What is not as the model has it, in words."""
        given = {"temperature": self.temperature, "top-k": self.top_k, "top-p": self.top_p}
        return [f"{name} {value:g}" for name, value in given.items() if value is not None and value != 1.0]

    # -------------------------------------------------------------------------------------------- answers

    def page_model(self) -> tuple[Any, Any]:
        return self.model, self.tokenizer

    def compute_answer(self) -> dict[str, Any]:
        """The surprise of each token of the prompt; for each step of the path the likeliest tokens; and all
        logits after the last, unless nothing can follow.

        {"prompt": [{"piece", "nats"}], "path": [token], "vocab": how many tokens there are,
        "shape": how many layers, heads in each, and copy heads,
        "nodes": {path so far, as text: {"tokens", "pieces", "nats", "note", "roads": for each token the
        place in `tree` of the latest road over it, or None; and for the last "logits": float32, falling}}}
        """
        try:
            return self._answer()
        except Exception:
            if self._from_page:  # the page goes on showing the last good answer, so that is the state
                self._settle(**self._shown)
            raise

    def _answer(self) -> dict[str, Any]:
        new = self.prompt != self._shown["prompt"]  # another prompt makes every road another
        path, tree = ([], []) if new else (self.path, self.tree)
        start = self._start
        if self.wanted:
            path = self._sampled(start, path, self.wanted)
        for road in [path, *tree]:
            self._check_road(start, road)
        tokens, record = [*start, *path], self.view == "attention"
        logits, weights = self._read(tokens, record)
        tree = _grown(tree, path)

        totals = logits.logsumexp(-1)  # (seq,)
        heard = torch.tensor(start[1:], dtype=torch.int64)
        behind = torch.arange(len(heard))
        nats = (totals[behind] - logits[behind, heard]).tolist()
        prompt = [
            {"piece": self._piece(token), "nats": _rounded(surprise)}
            for token, surprise in zip(start[1:], nats, strict=True)
        ]
        self._settle(path=path, tree=tree, wanted=0)
        nodes = {
            _key(path[:step]): self._node(
                path[:step],
                logits[len(start) - 1 + step],
                totals[len(start) - 1 + step],
                N_BARS if step == len(path) else N_ROADS,
                with_logits=step == len(path),
            )
            for step in range(len(path) + 1)
        }
        self._shown = {"prompt": self.prompt, "path": path, "tree": tree, "wanted": 0}
        self._latest = logits[-1].clone()  # (vocab,)
        self._recorded = (tokens, logits, weights) if record else None
        return {
            "prompt": prompt,
            "path": path,
            "vocab": logits.shape[-1],
            "shape": self._shape,
            "nodes": nodes,
        }

    def compute_details(self) -> dict[str, Any]:
        """In the view "attention" the step that is looked at, as in `answer` the last, with "weights": for
        each head those of all tokens before, in 65535ths as uint16; and the text as Python writes it.
        """
        if self.view != "attention":
            return {}
        start, path = self._start, self.path
        if self._recorded is None or self._recorded[0] != [*start, *path]:
            try:
                self._recorded = ([*start, *path], *self._read([*start, *path], record=True))
            except Exception:
                if self._from_page:  # as in compute_answer
                    self._settle(view="surprise")
                raise
        _, logits, weights = self._recorded
        if self.head is None:
            self._settle(head=self._most_to_show(weights))
        if not 0 <= self.step < len(path):
            self._settle(step=-1)
        at = len(start) + self._step()
        own = logits[at - 1]
        node = self._node(path[: self._step()], own, own.logsumexp(-1), N_BARS, True, _rows(weights, at))
        return {"nodes": {_key(path[: self._step()]): node}, "text": self._plain_text()}

    def _node(
        self,
        path: list[int],
        logits: Float[Tensor, " vocab"],
        total: Float[Tensor, ""],
        n: int,
        with_logits: bool,
        weights: Float[Tensor, "head key"] | None = None,
    ) -> dict[str, Any]:
        """What the page knows of one place in the tree: its n likeliest tokens, and those taken from here."""
        if with_logits:  # all, and of equals from the last to the first
            falling, order = (part.flip(0) for part in logits.sort(stable=True))
        else:
            falling, order = logits.topk(min(n, len(logits)))
        step = len(path)
        roads = {
            road[step]: place
            for place, road in enumerate(self.tree)
            if len(road) > step and road[:step] == path
        }
        tokens = order[:n].tolist()
        tokens += sorted(roads.keys() - set(tokens), key=lambda token: -logits[token].item())
        node = {
            "tokens": tokens,
            "pieces": [self._piece(token) for token in tokens],
            "nats": [_rounded(nats) for nats in (total - logits[tokens]).tolist()],
            "roads": [roads.get(token) for token in tokens],
            "note": self._note(path),
        }
        if with_logits and not node["note"]:
            node["logits"] = falling.numpy().astype("<f4").tobytes()
        if weights is not None and not node["note"]:
            node["weights"] = (weights * 65535).round().numpy().astype("<u2").tobytes()
        return node

    def _note(self, path: list[int]) -> str:
        """Why no token can follow, or nothing."""
        if path and path[-1] == self.tokenizer.end_of_text:
            return "The model has ended its text here. Go back to take another road."
        length = self.model.config.context_length
        if len(self._start) + len(path) == length:
            return f"The context is full: the model reads at most {length} tokens. Go back to change it."
        return ""

    # --------------------------------------------------------------------------------------------- parts

    @property
    def _start(self) -> list[int]:
        """What the model reads before the path."""
        return document(self.tokenizer, self.prompt)

    def _step(self) -> int:
        """The step that is looked at; at the end of a text, where nothing can follow, the last one."""
        return self.step if self.step >= 0 else max(0, len(self.path) - bool(self._note(self.path)))

    def _row(self) -> Float[Tensor, " key"]:
        """Where the chosen head looked at the step that is looked at."""
        layer, head = self.head
        return _rows(self._recorded[2], len(self._start) + self._step())[layer * self._shape[1] + head]

    def _words(self) -> list[str]:
        """The text of each token, after the start."""
        return [START, *words_of(self.tokenizer, [*self._start, *self.path][1:])]

    @property
    def _head_name(self) -> str:
        layer, head = self.head
        return f"copy head {head}" if layer == self._shape[0] else f"head {head} of layer {layer}"

    def _most_to_show(self, weights: Float[Tensor, "head query key"]) -> tuple[int, int]:
        """The head that looks back most decidedly, and at other tokens from step to step: not at the start,
        the token itself or the one before it.
        """
        if weights.shape[-1] < 4:
            return 0, 0
        decided = weights.tril(-2)[:, 1:, 1:].amax(-1)  # (head, query)
        moved = 1 - torch.minimum(weights[:, 1:], weights[:, :-1]).sum(-1)
        score = (decided * moved).mean(-1)
        places = [(layer, head) for layer, n in enumerate(heads_by_row(self._shape)) for head in range(n)]
        return places[int(score.argmax())]

    def _plain_text(self) -> str:
        """The text as Python writes it, without a token that ends it."""
        ended = self.path[-1:] == [self.tokenizer.end_of_text]
        return repr(self.prompt + self.tokenizer.decode(self.path[: len(self.path) - ended]))

    def _piece(self, token: int) -> str:
        return on_the_page(words_of(self.tokenizer, [token])[0])

    def _check_road(self, start: list[int], road: list[int]) -> None:
        length = self.model.config.context_length
        if len(start) + len(road) > length:
            raise ValueError(
                f"the model reads at most {length} tokens, and this text has {len(start) + len(road)} with "
                "the end-of-text token before it; a shorter prompt, or a step back, would do"
            )
        check_tokens(torch.tensor([[*start, *road]]), self.model.config)
        if self.tokenizer.end_of_text in road[:-1]:
            raise ValueError("path goes on after the end-of-text token, where its text has ended")

    def _read(
        self, tokens: list[int], record: bool = False
    ) -> tuple[Float[Tensor, "seq vocab"], Float[Tensor, "head query key"] | None]:
        """Logits of the tokenizer's tokens after each token, and if `record` where each head looked: those of
        each layer in turn, then the copy heads. FloatingPointError where logits are not finite.
        """
        with in_use(self.model) as device:
            row = torch.tensor([tokens], device=device)
            with trace(self.model, only="*.weights") if record else nullcontext({}) as run:
                logits = numbers(self.model(row)[0, :, : self.tokenizer.vocab_size])
            if not can_choose(logits):
                raise FloatingPointError(why_not_finite(self.model, row))
        return logits, torch.cat([numbers(weights[0]) for weights in run.values()]) if record else None

    def _sampled(self, start: list[int], path: list[int], n: int) -> list[int]:
        """The path and up to n tokens more, drawn as `gptlib.generate` draws them, to the sentence's end."""
        if note := self._note(path):
            raise ValueError(note)
        config = self.model.config
        generator = torch.Generator().manual_seed(self.seed)
        for _ in path:  # these dice were thrown, or passed over
            torch.rand((), generator=generator, dtype=torch.float64)
        unread, path = [*start, *path], list(path)
        with in_use(self.model) as device:
            cache = KeyValueCache(config, 1, device, next(self.model.parameters()).dtype)
            for _ in range(min(n, config.context_length - len(unread))):
                logits = numbers(last_logits(self.model, torch.tensor([unread], device=device), cache))
                logits = logits[:, : self.tokenizer.vocab_size]
                probabilities = next_token_distribution(logits, self._sampling())
                token = int(draw(probabilities, [generator])[0])
                path.append(token)
                unread = [token]
                if token == self.tokenizer.end_of_text or _ends_sentence(self._piece(token)):
                    break
        return path

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    def _settle(self, **state: Any) -> None:
        """Set state that the answer takes into account already, so that it asks for no other."""
        from_page, self._from_page = getattr(self, "_from_page", False), True
        try:
            with self.hold_sync():
                for name, value in state.items():
                    self.set_trait(name, value)
        finally:
            self._from_page = from_page

    @validate("temperature", "top_k", "top_p")
    def _check_setting(self, proposal: Any) -> Any:
        Sampling(**{proposal["trait"].name: proposal["value"]})
        return proposal["value"]

    @validate("head")
    def _check_head(self, proposal: Any) -> tuple[int, int] | None:
        value, rows = proposal["value"], heads_by_row(self._shape)
        if value is not None and not (0 <= value[0] < len(rows) and 0 <= value[1] < rows[value[0]]):
            raise TraitError(
                f"head is {value}; it needs to be (layer, head), and the layers have {rows} heads"
            )
        return value

    @validate("seed")
    def _check_seed(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < 2**63:
            raise TraitError(f"seed is {proposal['value']}; it needs a whole number from 0 to 2^63 - 1")
        return proposal["value"]


def _check_arguments(
    model: Any, tokenizer: Any, prompt: Any, temperature: Any, top_k: Any, top_p: Any
) -> None:
    if not isinstance(model, GPT):
        raise TypeError(f"model is a {type(model).__name__}; it needs to be a gptlib.GPT")
    if not isinstance(tokenizer, Tokenizer | CharacterTokenizer):
        raise TypeError(
            f"tokenizer is a {type(tokenizer).__name__}; it needs to be the Tokenizer of the model"
        )
    check_vocabulary(tokenizer, model.config)
    if not isinstance(prompt, str):
        raise TypeError(f"prompt is a {type(prompt).__name__}; it needs to be a text")
    for name, value in (("temperature", temperature), ("top_p", top_p)):
        if (value is None and name == "temperature") or isinstance(value, bool | str):
            raise TypeError(f"{name} is {value!r}; it needs a number")
        if value is not None and not isinstance(value, Real):
            raise TypeError(f"{name} is a {type(value).__name__}; it needs a number")
    Sampling(temperature=temperature, top_k=top_k, top_p=top_p)


def _rows(weights: Float[Tensor, "head query key"], n: int) -> Float[Tensor, "head n"]:
    """Where each head looks among the first n tokens when the one after them is chosen."""
    return weights[:, n - 1, :n]


def _key(path: list[int]) -> str:
    return ",".join(map(str, path))


def _rounded(nats: float) -> float:
    return max(0.0, round(nats, 5))


def _grown(tree: list[list[int]], path: list[int]) -> list[list[int]]:
    """The tree with this path on one of its roads; a road that the path goes on from is part of it now."""
    if not path or any(road[: len(path)] == path for road in tree):
        return tree
    return [*(road for road in tree if road != path[: len(road)]), path]


def _ends_sentence(piece: str) -> bool:
    return piece.rstrip("␣↵\"'”’)").endswith((".", "!", "?", "…"))
