"""What articles say a GPT can do, as tasks with known answers, and how they are scored.

Each `Application` makes conversations from the worlds of a split and scores what the assistant says in them.
Two baselines take no neural network: the answer that is most frequent in training, and an n-gram model.
"""

from __future__ import annotations

import ast
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float

from gptlib.loading import load
from gptlib.model.gpt import GPT
from gptlib.shipped import data_folder, read_checked
from gptlib.text.corpora import python_source
from gptlib.text.ngram import NGram
from gptlib.text.storyworld import Sentence, Story, Storyworld, derive, split_of
from gptlib.text.storyworld.grammar import Word, render
from gptlib.text.storyworld.words import VARIABLES
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.conversations import (
    Conversation,
    Conversations,
    Message,
    answer,
    conversation,
    encode_conversation,
)
from gptlib.training.evaluation import evaluate

ADAPTERS = "adapters"  # their folder in data/
Score = Callable[[str, str, str], float]  # (answer, right answer, what the user said last) -> 0 to 1


@dataclass(frozen=True)
class Application:
    """One thing to teach a model.

    title           what it is called
    scores          how good what the assistant says is, by the name of each metric; the first one decides
    conversations   conversations without end, from the worlds of a split
    baseline        "majority" or "n-gram": which of the two baselines is held beside it
    n_new_tokens    how many tokens it asks for that English stories have no use for
    """

    title: str
    scores: Mapping[str, Score]
    conversations: Callable[[str, int], Iterator[Conversation]]
    baseline: str = "majority"
    n_new_tokens: int = 0


def examples(
    application: Application, n: int, split: str, seed: int, tokenizer: Tokenizer, context_length: int
) -> list[Conversation]:
    """The first n conversations that fit into the context, each once."""
    found: dict[Conversation, None] = {}
    for turns in application.conversations(split, seed):
        if len(encode_conversation(tokenizer, turns)[0]) <= context_length:
            found[turns] = None
        if len(found) == n:
            break
    return list(found)


# ------------------------------------------------------------------------------------------- what is measured


def exact(said: str, right: str, prompt: str = "") -> float:
    """1 for the right answer, word for word, else 0."""
    return float(said.strip() == right.strip())


def f1_of_list(said: str, right: str, prompt: str = "") -> float:
    """How well a list, parted by full stops, agrees with the right one: 2 hits / (said + wanted)."""
    given, wanted = Counter(said.strip().split(". ")), Counter(right.strip().split(". "))
    return 2 * (given & wanted).total() / (given.total() + wanted.total())


def chrf(said: str, right: str, prompt: str = "") -> float:
    """Agreement in runs of 1 to 6 characters, spaces left out; what is missing weighs twice as much.

    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", section 2, with β = 2.
    """
    said, right = "".join(said.split()), "".join(right.split())
    precisions, recalls = [], []
    for n in range(1, 7):
        given, wanted = _runs(said, n), _runs(right, n)
        if given and wanted:
            hits = (given & wanted).total()
            precisions.append(hits / given.total())
            recalls.append(hits / wanted.total())
    if not sum(precisions):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 5 * precision * recall / (4 * precision + recall)


def facts_kept(said: str, right: str, prompt: str = "") -> float:
    """The share of the right answer's facts that are said: names, things, places, colors, numbers, ….

    Storyworld knows all the words that carry one. nan where there are none.
    """
    wanted = [forms for forms in _known_words() if any(form in right for form in forms)]
    kept = sum(any(form in said for form in forms) for forms in wanted)
    return kept / len(wanted) if wanted else math.nan


def could_be_told(said: str, right: str, prompt: str) -> float:
    """1 if Storyworld could have told the beginning and then this, else 0."""
    try:
        derive(f"{prompt}\n{said}")
    except ValueError:
        return 0.0
    return 1.0


def parses(said: str, right: str, prompt: str) -> float:
    """1 if the beginning of a function and then this is Python, else 0."""
    try:
        ast.parse(f"{prompt}\n{said}")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0.0
    return float(bool(said.strip()))


def _runs(text: str, n: int) -> Counter[str]:
    return Counter(text[start : start + n] for start in range(len(text) - n + 1))


@cache
def _known_words() -> tuple[tuple[str, ...], ...]:
    """For every word of Storyworld that carries a fact, how it may be written, in English and in Chinese."""
    words = {word for pool in VARIABLES.values() for word in pool}
    plain = ("", "s")  # an article or a preposition is no part of the fact
    return tuple(
        sorted({tuple(word.forms[form] for form in plain if form in word.forms) for word in words})
        + sorted({(word.chinese[""],) for word in words})
    )


# ------------------------------------------------------------------------------------------- from the stories


def _stories(split: str, seed: int) -> Iterator[Story]:
    return iter(Storyworld(seed, split))


def continuation(split: str, seed: int) -> Iterator[Conversation]:
    """The first half of a story; the assistant goes on."""
    for story in _stories(split, seed):
        beginning, _, rest = story.text.partition("\n")
        yield conversation(beginning, rest)


def sentiment(split: str, seed: int) -> Iterator[Conversation]:
    """A story; does it end happily?"""
    for story in _stories(split, seed):
        yield conversation(story.text, story.sentiment)


def entities(split: str, seed: int) -> Iterator[Conversation]:
    """A story; who and what is in it, each with its kind, in the order in which they come."""
    for story in _stories(split, seed):
        items = {}
        for mention in story.mentions:
            if not mention.is_pronoun and mention.form != "girl":
                written = story.text[mention.start : mention.end]
                items.setdefault(mention.chain, f"{written}, {_kind(mention.chain)}")
        yield conversation(story.text, ". ".join(dict.fromkeys(items.values())))


def _kind(chain: str) -> str:
    for kind, names in (
        ("person", ("hero", "friend", "third", "kin", "helper")),
        ("animal", ("animal",)),
        ("place", ("place",)),
    ):
        if chain.rstrip("0123456789") in names:
            return kind
    return "thing"


# Who did what to whom, in the sentences that say so, by their wording: agent, verb, theme, recipient.
FRAMES: dict[str, tuple[str, ...]] = {
    "{hero.she}的{kin}给了{hero}{count.m}{food.m}{food}。": ("{kin}, gave, {food}, {hero}",),
    "{hero}把{given.m}{food.m}{food}给了{friend}。": ("{hero}, gave, {food}, {friend}",),
    "第二天，{friend}给{hero}带来了一{treasure.m}{color}的{treasure}。": (
        "{friend}, gave, {treasure}, {hero}",
    ),
    "于是{hero}带着{toy2}回家，{friend}带着{toy}回家。": (
        "{hero}, gave, {toy}, {friend}",
        "{friend}, gave, {toy2}, {hero}",
    ),
    "{hero.she}的{kin}给{hero.she}一{clothing.m}{color2}的{clothing}。“它会给你带来好运，”{kin.she}说。": (
        "{kin}, gave, {clothing}, {hero}",
    ),
    "“你全都记住了！”{kin}{glad}地说，给了{hero}一{treasure.m}{treasure}。": (
        "{kin}, gave, {treasure}, {hero}",
    ),
    "{friend}向它扔了一{clothing.m}{clothing}，{clothing}也挂住了。": ("{friend}, threw, {clothing}",),
    "{hero}{place.at}玩，{toy}掉在一块石头上，摔坏了。": ("{hero}, broke, {toy}",),
    "{hero}把{toy}藏在{spot}，什么也没说。": ("{hero}, hid, {toy}",),
    "{weekday}，{friend}来了，看了看{spot}，发现了它。": ("{friend}, found, {toy}",),
    "{hero}{place.at}找到一把{color}的钥匙。": ("{hero}, found, key",),
    "最后，{friend}在{spot}发现一个{size}的盒子。": ("{friend}, found, box",),
    "{hero}留下了{treasure}，把{treasure3}给了{friend}。": (
        "{hero}, got, {treasure}",
        "{friend}, got, {treasure3}",
    ),
    "一个{weather}的{daytime}，{hero}把{toy}放在{spot}，去{chore}。": ("{hero}, left, {toy}",),
    "它很饿。{hero}喂了它一{food.m}{food}。": ("{hero}, fed, {animal}",),
    "{hero}给了它一{food.m}{food}，{hero.she}很{glad}。": ("{hero}, fed, {animal}",),
    "于是{hero}{place.at}偷偷做了一{garment.m}{color}的{garment}，上面缝着一{treasure.m}{treasure}。": (
        "{hero}, made, {garment}",
    ),
    "{hero.she}把它藏在{spot}。": ("{hero}, hid, {garment}",),
    "{hero}找了很久，终于找到了那{treasure.m}{color}的{treasure}。": ("{hero}, found, {treasure}",),
    "{hero}跑得太急，摔进了泥里。{friend}赢了{treasure}。": ("{friend}, won, {treasure}",),
    "快到{place2}的时候，{hero}超过了{friend}，赢了。": ("{hero}, won, {treasure}",),
    "{third}赢了{treasure}，可是{hero}和{friend}一起走到终点，都很{glad}。": ("{third}, won, {treasure}",),
}


def roles(split: str, seed: int) -> Iterator[Conversation]:
    """A story; who did what to whom, event by event."""
    for story in _stories(split, seed):
        words = story.telling.words
        events = [
            render(frame, words) for sentence in story.sentences for frame in FRAMES.get(sentence.wording, ())
        ]
        if events:
            yield conversation(story.text, ". ".join(events))


def questions(split: str, seed: int) -> Iterator[Conversation]:
    """A story and one of the questions that it can answer."""
    for story in _stories(split, seed):
        yield conversation(f"{story.text} {story.question}", story.answer)


def dialogue(split: str, seed: int) -> Iterator[Conversation]:
    """A story and several questions, one after the other; after the first, the hero is only "he" or "she"."""
    for story in _stories(split, seed):
        (first, first_right), *others = story.questions
        said = [f"{story.text} {first}", first_right]
        for asked, right in others:
            said += [_with_pronoun(asked, story.telling.words["hero"]), right]
        yield conversation(*said)


def _with_pronoun(asked: str, hero: Word) -> str:
    """The question with the hero's name as a pronoun: whose it is, who did or was, or whom."""
    name = hero.forms[""]
    asked = asked.replace(f"{name}'s", hero.forms["hers"])
    for verb in ("did", "was"):
        asked = asked.replace(f" {verb} {name}", f" {verb} {hero.forms['she']}")
    return asked.replace(name, hero.forms["her"])


def summary(split: str, seed: int) -> Iterator[Conversation]:
    """A story; what happens in it, in one sentence."""
    for story in _stories(split, seed):
        yield conversation(story.text, story.summary)


def _sentences(split: str, seed: int, language: str) -> Iterator[Sentence]:
    """A sentence of each story. Stories share the short ones, so a sentence, too, has one split for ever."""
    chance = random.Random(seed)
    for story in _stories(split, seed):
        own = [sentence for sentence in story.sentences if split_of(getattr(sentence, language)) == split]
        if own:
            yield chance.choice(own)


def to_chinese(split: str, seed: int) -> Iterator[Conversation]:
    """A sentence of a story; the same in Chinese."""
    for sentence in _sentences(split, seed, "english"):
        yield conversation(sentence.english, sentence.chinese)


def to_english(split: str, seed: int) -> Iterator[Conversation]:
    """A sentence of a story in Chinese; the same in English."""
    for sentence in _sentences(split, seed, "chinese"):
        yield conversation(sentence.chinese, sentence.english)


def report(split: str, seed: int) -> Iterator[Conversation]:
    """A table of what a story is about; its first half, told."""
    for story in _stories(split, seed):
        text = story.text.partition("\n")[0]
        said = [sentence for sentence in story.sentences if sentence.end <= len(text)]
        yield conversation(_table(story, said), text)


def table(split: str, seed: int) -> Iterator[Conversation]:
    """A table of what a story is about, without the story, and a question that the table answers."""
    for story in _stories(split, seed):
        rows = _table(story, story.sentences)
        values = {row.partition(": ")[2] for row in rows.split("\n")}
        if any(story.answer.endswith(value) for value in values):
            yield conversation(f"{rows}\n {story.question}", story.answer)


def _table(story: Story, said: Sequence[Sentence]) -> str:
    """The plot, and what each variable of these sentences stands for, a line for each."""
    words = story.telling.words
    used = dict.fromkeys(
        name
        for sentence in said
        for name in words
        if f"{{{name}}}" in sentence.wording or f"{{{name}." in sentence.wording
    )
    return "\n".join([f"plot: {story.plot}", *(f"{name}: {words[name].forms['']}" for name in used)])


# --------------------------------------------------------------------------------------------- from elsewhere


def code(split: str, seed: int) -> Iterator[Conversation]:
    """The first two lines of a function of Python's standard library; the assistant writes the rest.

    A file belongs to one split for ever. Ends after the last function.
    """
    functions = list(_functions(split))
    random.Random(seed).shuffle(functions)
    for beginning, rest in functions:
        yield conversation(beginning, rest)


@cache
def _functions(split: str) -> tuple[tuple[str, str], ...]:
    """(the first two lines, those after them) of each function of at least four lines, outdented."""
    found = []
    for document in python_source().documents:
        if split_of(document) != split:
            continue
        lines = document.split("\n")
        try:
            nodes = list(ast.walk(ast.parse(document)))
        except (SyntaxError, ValueError):
            continue
        for node in nodes:
            if not isinstance(node, ast.FunctionDef) or node.end_lineno - node.lineno < 3:
                continue
            own = lines[node.lineno - 1 : node.end_lineno]
            outdented = [line[node.col_offset :] for line in own]
            # A text of several lines may reach further left than the function that it stands in.
            if all(not line[: node.col_offset].strip() for line in own):
                found.append(("\n".join(outdented[:2]), "\n".join(outdented[2:])))
    return tuple(found)


APPLICATIONS: dict[str, Application] = {
    "continuation": Application(
        "Story continuation", {"could be told": could_be_told}, continuation, baseline="n-gram"
    ),
    "sentiment": Application("Sentiment", {"exact": exact}, sentiment),
    "entities": Application("Named entities", {"F1": f1_of_list}, entities),
    "roles": Application("Who did what to whom", {"F1": f1_of_list}, roles),
    "questions": Application("Question answering", {"exact": exact}, questions),
    "dialogue": Application("Dialogue, three turns", {"exact": exact}, dialogue),
    "summary": Application("Summary", {"exact": exact, "chrF": chrf}, summary),
    "to-chinese": Application(
        "English to Chinese", {"chrF": chrf, "facts kept": facts_kept}, to_chinese, n_new_tokens=1200
    ),
    "to-english": Application(
        "Chinese to English", {"chrF": chrf, "facts kept": facts_kept}, to_english, n_new_tokens=1200
    ),
    "report": Application("Table to text", {"facts kept": facts_kept}, report, baseline="n-gram"),
    "table": Application("Questions over a table", {"exact": exact}, table),
    "code": Application("Python", {"parses": parses}, code, baseline="n-gram", n_new_tokens=1200),
}


# --------------------------------------------------------------------------------------------- how good it is

Writer = Callable[[Conversation], str]  # what the assistant says after these turns


def score(
    application: Application, conversations: Sequence[Conversation], writer: Writer
) -> dict[str, Float[torch.Tensor, " conversation"]]:
    """How good what the writer says is, in each conversation, by the name of each metric.

    Where the assistant speaks several times it hears what it said itself, and the mean counts.
    """
    rows: dict[str, list[float]] = {name: [] for name in application.scores}
    for turns in conversations:
        so_far: list[Message] = []
        values: dict[str, list[float]] = {name: [] for name in application.scores}
        for turn in turns:
            if turn.role == "assistant":
                said = writer(tuple(so_far))
                for name, measure in application.scores.items():
                    values[name].append(measure(said, turn.content, so_far[-1].content))
                turn = Message("assistant", said)
            so_far.append(turn)
        for name, row in values.items():
            rows[name].append(sum(row) / len(row))
    return {name: torch.tensor(row) for name, row in rows.items()}


def model_writer(model: GPT, tokenizer: Tokenizer, max_new_tokens: int = 256) -> Writer:
    """The model says what is likeliest."""
    return lambda turns: answer(model, tokenizer, turns, max_new_tokens)


def longest_answer(conversations: Sequence[Conversation], tokenizer: Tokenizer) -> int:
    """How many tokens the longest thing has that the assistant should say."""
    said = (turn.content for turns in conversations for turn in turns if turn.role == "assistant")
    return max(len(tokenizer.encode(f" {content}")) for content in said)


def majority_writer(training: Sequence[Conversation]) -> Writer:
    """Says, always, what the assistant said most often in training."""
    said = Counter(turn.content for turns in training for turn in turns if turn.role == "assistant")
    most_frequent = said.most_common(1)[0][0]
    return lambda turns: most_frequent


def ngram_writer(
    training: Sequence[Conversation], tokenizer: Tokenizer, context_length: int, order: int = 5
) -> Writer:
    """An n-gram model over the conversations says, token by token, what is likeliest."""
    model = NGram(order, tokenizer.vocab_size)
    model.fit([encode_conversation(tokenizer, turns)[0] for turns in training])
    end = tokenizer.end_of_text

    def write(turns: Conversation) -> str:
        tokens = [*encode_conversation(tokenizer, turns)[0], tokenizer.special_tokens["<|assistant|>"]]
        start = len(tokens)
        while len(tokens) < context_length:
            token = int(model.probabilities(tokens[-(order - 1) :]).argmax())
            if token == end:
                break
            tokens.append(token)
        return tokenizer.decode(tokens[start:]).removeprefix(" ")

    return write


# ------------------------------------------------------------------------------------- what ships, the table


def adapter_path(name: str) -> Path:
    """Where the course's adapter for an application is. ValueError for an unknown name."""
    named(name)
    return data_folder() / ADAPTERS / f"{name}.safetensors"


def load_application(name: str) -> tuple[GPT, Tokenizer]:
    """storyteller with the course's adapter for an application, and the tokenizer with its new tokens.

    Raises ValueError for an unknown name or a file that is not as its checksum says; FileNotFoundError for a
    missing one.
    """
    return load(adapter_path(name))


def recorded_results() -> list[Result]:
    """The table of all applications as `gptlib evaluate` measured it. Raises as above."""
    rows = json.loads(read_checked(f"{ADAPTERS}/results.json"))
    pairs = ("baseline", "before", "after", "margin")
    return [Result(**row | {name: tuple(row[name]) for name in pairs}) for row in rows]


@dataclass(frozen=True)
class Result:
    """How an application went on `n` held-out conversations: means of one metric, with standard errors.

    baseline, before, after   of the baseline, the model before it was fine-tuned, and after
    margin                    after less baseline, conversation by conversation
    loss_before, loss_after   on what the assistant should say, in nats per token
    """

    application: str
    metric: str
    n: int
    baseline: tuple[float, float]
    before: tuple[float, float]
    after: tuple[float, float]
    margin: tuple[float, float]
    loss_before: float
    loss_after: float


def measure(
    name: str,
    before: GPT,
    after: GPT,
    tokenizer: Tokenizer,
    n: int = 200,
    n_training: int = 2000,
    split: str = "test",
    seed: int = 0,
) -> list[Result]:
    """Hold an application's model beside its baseline and beside the model before, on held-out conversations.

    Both models have `tokenizer`, with the roles in it. The baseline learns from n_training conversations of
    the training split. Raises ValueError for an unknown name.
    """
    application = named(name)
    context_length = after.config.context_length
    held_out = examples(application, n, split, seed, tokenizer, context_length)
    training = examples(application, n_training, "train", seed, tokenizer, context_length)
    if application.baseline == "majority":
        baseline = majority_writer(training)
    else:
        baseline = ngram_writer(training, tokenizer, context_length)
    # A model that does not know when to fall silent is stopped where it cannot be right any more.
    limit = longest_answer(held_out, tokenizer) + 1
    scores = [
        score(application, held_out, writer)
        for writer in (baseline, *(model_writer(model, tokenizer, limit) for model in (before, after)))
    ]
    data = Conversations(held_out, tokenizer, context_length)
    losses = [evaluate(model, data) for model in (before, after)]
    return [
        Result(
            name,
            metric,
            int(scores[0][metric].isfinite().sum()),
            *(_mean(row[metric]) for row in scores),
            _mean(scores[2][metric] - scores[0][metric]),
            *losses,
        )
        for metric in application.scores
    ]


def named(name: str) -> Application:
    """The application of this name. ValueError for another, with those there are."""
    if name not in APPLICATIONS:
        raise ValueError(f"there is no application {name!r}; there are {', '.join(APPLICATIONS)}")
    return APPLICATIONS[name]


def _mean(values: Float[torch.Tensor, " conversation"]) -> tuple[float, float]:
    """The mean and its standard error, of the conversations in which there was something to measure."""
    values = values[values.isfinite()]
    return values.mean().item(), values.std().item() / len(values) ** 0.5


def results_table(results: Sequence[Result]) -> str:
    """The results as lines of text, a row for each metric; the margin is given with its standard error."""
    lines = [
        f"{'application':24}{'metric':15}{'n':>4}  {'baseline':>8}{'before':>8}{'after':>8}"
        f"{'margin':>9}         {'loss before':>11}{'after':>7}"
    ]
    for result in results:
        lines.append(
            f"{APPLICATIONS[result.application].title:24}{result.metric:15}{result.n:4}  "
            f"{result.baseline[0]:8.2f}{result.before[0]:8.2f}{result.after[0]:8.2f}"
            f"{result.margin[0]:9.2f} ± {result.margin[1]:4.2f}  "
            f"{result.loss_before:11.2f}{result.loss_after:7.2f}"
        )
    return "\n".join(lines)
