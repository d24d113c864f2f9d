"""Conversations as rows of tokens, with loss on the answer alone.

Two new tokens say whose turn it is:

    <|endoftext|><|user|>…<|assistant|> …<|endoftext|><|user|>…<|assistant|> …<|endoftext|>

What the assistant says begins with a space, as words inside a text do: so their tokens are those that the
model knows. It learns only these, and the end-of-text token with which the assistant falls silent.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from gptlib.checks import check_from_zero, check_kind, check_path, check_seed, check_whole
from gptlib.generation.writing import generate_tokens
from gptlib.model.checks import check_model, check_vocabulary
from gptlib.model.gpt import GPT
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.evaluation import IGNORED
from gptlib.training.lora import lora_layers

ROLES = ("user", "assistant")

ROLE_TOKENS = tuple(f"<|{role}|>" for role in ROLES)


@dataclass(frozen=True)
class Message:
    """What one of the two said: the content. The role, "user" or "assistant", tells which of them.

    Raises ValueError for another role, TypeError for a content that is no text.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role is {self.role!r}; it needs to be one of {', '.join(ROLES)}")
        check_kind("content", self.content, str, "a text")


Conversation = tuple[Message, ...]


def conversation(*contents: str) -> Conversation:
    """The user's words and the assistant's, in turn; the user begins."""
    return tuple(Message(ROLES[place % 2], content) for place, content in enumerate(contents))


def read_conversations(path: str | os.PathLike[str]) -> list[Conversation]:
    """Read a JSONL file: on each line {"messages": [{"role": "user", "content": "…"}, …]}, or nothing.

    Raises FileNotFoundError for no file; ValueError for the first line that is not as it should be, by its
    number and what is wrong with it, and for an empty file.
    """
    check_path("path", path)
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    contents = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if not contents.strip():
        raise ValueError(f"{str(path)!r} is empty; it needs a conversation on each line")
    found = []
    for number, line in enumerate(contents.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(_conversation(json.loads(line.decode("utf-8"))))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{str(path)!r}, line {number}: {error}") from None
    return found


def _conversation(value: object) -> Conversation:
    wanted = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"expected {wanted}")
    for place, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise ValueError(f'message {place} needs "role" and "content", and nothing else')
        if not all(isinstance(value, str) for value in message.values()):
            raise ValueError(f"message {place} has a role or content that is no text")
    turns = tuple(Message(message["role"], message["content"]) for message in messages)
    if all(turn.role != "assistant" for turn in turns):
        raise ValueError("the assistant says nothing, so there is nothing to learn")
    return turns


def with_roles(tokenizer: Tokenizer, texts: Iterable[str] = (), n_tokens: int = 0) -> Tokenizer:
    """The tokenizer with a token for each role, and n_tokens more that the texts ask for.

    A tokenizer that has seen only English cuts Chinese into bytes; a few hundred new tokens make such texts
    short. Raises ValueError when the roles are there already.
    """
    check_kind("tokenizer", tokenizer, Tokenizer, "a Tokenizer of gptlib, which can learn more tokens")
    return tokenizer.grown(texts, n_tokens, ROLE_TOKENS)


def grow(model: GPT, old: Tokenizer, new: Tokenizer) -> GPT:
    """A copy of the model that reads with `new`, which has the tokens of `old` and more.

    The vector of a new token starts as the mean of those that it was cut into before; that of a special
    token, as the mean of all. Rows of the embedding beyond the tokens of `old`, as padding, are left out.
    Raises ValueError when `new` has fewer tokens than `old`, the model fewer rows, or it has LoRA layers.
    """
    check_model(model)
    check_vocabulary(old, model.config, "old ")
    check_kind("new tokenizer", new, Tokenizer, "the old one with more tokens, as with_roles gives it")
    if new.vocab_size < old.vocab_size:
        raise ValueError(
            f"new tokenizer has vocab_size {new.vocab_size}; it needs at least the old one's, "
            f"{old.vocab_size}"
        )
    if lora_layers(model):
        raise ValueError("model has LoRA layers; it needs to be a plain GPT, as without_lora(model) gives it")
    weights = model.state_dict()
    for name in ("token_embedding.weight", "unembedding.weight"):
        rows = weights[name][: old.vocab_size]
        added = []
        for token in range(old.vocab_size, new.vocab_size):
            text = new.token_bytes(token)
            special = text.decode(errors="replace") in new.special_tokens
            parts = slice(None) if special else old.encode_bytes(text)
            added.append(rows[parts].mean(dim=0))
        weights[name] = torch.stack([*rows, *added])
    # The initial weights of the larger model are thrown away; the caller's random numbers go on as before.
    with torch.random.fork_rng(devices=[]):
        larger = GPT(replace(model.config, vocab_size=new.vocab_size))
    larger.load_state_dict(weights)
    return larger.eval()


def encode_conversation(tokenizer: Tokenizer, turns: Iterable[Message]) -> tuple[list[int], list[bool]]:
    """The tokens of a conversation, and for each whether the assistant is the one who says it.

    Raises ValueError when the tokenizer has no tokens for the roles.
    """
    check_kind("tokenizer", tokenizer, Tokenizer, "one with a token for each role, as with_roles gives it")
    check_kind("a conversation", turns, Iterable, "messages, as conversation makes them of texts")
    if missing := [name for name in ROLE_TOKENS if name not in tokenizer.special_tokens]:
        raise ValueError(f"tokenizer has no token {missing[0]}; with_roles(tokenizer) has one for each role")
    tokens, said = [tokenizer.end_of_text], [False]
    for turn in turns:
        check_kind("a message", turn, Message, "a Message, as conversation makes them of texts")
        if turn.role == "assistant":
            words = [*tokenizer.encode(f" {turn.content}"), tokenizer.end_of_text]
        else:
            words = tokenizer.encode(turn.content)
        tokens += [tokenizer.special_tokens[f"<|{turn.role}|>"], *words]
        said += [False, *[turn.role == "assistant"] * len(words)]
    return tokens, said


def check_lengths(conversations: Sequence[Conversation], tokenizer: Tokenizer, context_length: int) -> None:
    """Raise ValueError unless there are conversations and each fits into context_length tokens."""
    check_whole("context_length", context_length)
    check_kind("conversations", conversations, Sequence, "a list of them")
    if not conversations:
        raise ValueError("conversations is empty; it needs at least one")
    for number, turns in enumerate(conversations, start=1):
        n_tokens = len(encode_conversation(tokenizer, turns)[0])
        if n_tokens - 1 > context_length:
            raise ValueError(
                f"conversation {number} has {n_tokens} tokens; context_length is {context_length}, "
                f"so at most {context_length + 1} fit"
            )


def split(
    conversations: Sequence[Conversation], share: float, seed: int = 0
) -> tuple[list[Conversation], list[Conversation]]:
    """Two parts, drawn at random: all but a share of them, and that share. Each has at least one.

    Raises ValueError when there are fewer than two conversations, or share is not from 0 up to 1.
    """
    check_kind("conversations", conversations, Sequence, "a list of them")
    check_from_zero("share", share)
    if share > 1:
        raise ValueError(f"share is {share}; it needs to be at most 1")
    check_seed("seed", seed)
    if len(conversations) < 2:
        raise ValueError("there are fewer than two conversations; one is to train on, one to validate on")
    order = torch.randperm(len(conversations), generator=torch.Generator().manual_seed(int(seed))).tolist()
    n_second = min(max(1, round(share * len(order))), len(order) - 1)
    shuffled = [conversations[place] for place in order]
    return shuffled[n_second:], shuffled[:n_second]


class Conversations:
    """Conversations as `train` and `evaluate` read data: only what the assistant says carries loss.

    Raises ValueError when one does not fit into context_length tokens, by its number, or there is none.
    """

    def __init__(
        self, conversations: Sequence[Conversation], tokenizer: Tokenizer, context_length: int
    ) -> None:
        check_lengths(conversations, tokenizer, context_length)
        self.rows: list[tuple[Tensor, Tensor]] = []
        for turns in conversations:
            tokens, said = encode_conversation(tokenizer, turns)
            targets = [token if kept else IGNORED for token, kept in zip(tokens, said, strict=True)]
            self.rows.append((torch.tensor(tokens[:-1]), torch.tensor(targets[1:])))

    def __len__(self) -> int:
        return len(self.rows)

    def batch(
        self,
        batch_size: int,
        context_length: int,
        generator: torch.Generator | None = None,
        at_document_starts: bool = True,
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Random conversations, each alone in its row, filled up with tokens that carry no loss."""
        check_whole("batch_size", batch_size)
        chosen = torch.randint(len(self.rows), (batch_size,), generator=generator).tolist()
        inputs, targets = zip(*(self.rows[place] for place in chosen), strict=True)
        pad = nn.utils.rnn.pad_sequence
        return pad(inputs, batch_first=True), pad(targets, batch_first=True, padding_value=IGNORED)

    def windows(
        self, context_length: int, at_document_starts: bool = True
    ) -> Iterator[tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]]:
        """Every conversation in order, with its targets."""
        return iter(self.rows)


def answer(model: GPT, tokenizer: Tokenizer, turns: Conversation, max_new_tokens: int = 100) -> str:
    """What the assistant says next, token by token the likeliest, until it falls silent.

    Raises ValueError when the conversation leaves it no room: when it has as many tokens as the context.
    """
    check_model(model)
    check_whole("max_new_tokens", max_new_tokens, at_least=0)
    tokens, _ = encode_conversation(tokenizer, turns)
    tokens.append(tokenizer.special_tokens["<|assistant|>"])
    start = torch.tensor([tokens])
    room = model.config.context_length - len(tokens)
    if room < 1:
        raise ValueError(
            f"the conversation has {len(tokens)} tokens; context_length is {model.config.context_length}, so "
            "there is no room for an answer: leave out its first messages"
        )
    end = tokenizer.end_of_text
    longer = generate_tokens(model, start, max_new_tokens=min(max_new_tokens, room), temperature=0, stop=end)
    said = tokenizer.decode(token for token in longer[0, len(tokens) :].tolist() if token != end)
    return said.removeprefix(" ")
