"""A GPT you can see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Generator

from gptlib.course.exercises import Exercise, Lesson, Misconception, Question


def likeliest(words: Sequence[str], probabilities: Sequence[float]) -> str:
    return words[probabilities.index(max(probabilities))]


def words_to_choose_from(generator: Generator) -> Iterator[tuple[list[str], list[float]]]:
    yield ["bed", "table", "dragon"], [0.25, 0.5, 0.25]
    yield ["tree", "bench", "bridge", "bed"], [0.1, 0.2, 0.6, 0.1]
    numbers = torch.rand(6, generator=generator)
    yield ["kite", "red", "under", "put", "Mia", "the"], (numbers / numbers.sum()).tolist()


LIKELIEST = Exercise(
    name="welcome.likeliest",
    reference=likeliest,
    inputs=words_to_choose_from,
    buys="Ask for it again and again, and you have a machine that writes.",
    hints=(
        "Find the largest probability, then the word that it belongs to.",
        "words and probabilities are two lists of the same length: words[n] has probabilities[n]. One word goes out.",
        "max(probabilities) is the largest, probabilities.index(...) is its place, and words[...] the word at that place.",
    ),
    misconceptions=(
        Misconception(
            "probability",
            "this is the largest probability. The question is which word has it.",
            lambda words, probabilities: max(probabilities),
        ),
        Misconception(
            "place",
            "this is the place of the word in the list. Return the word that stands there.",
            lambda words, probabilities: probabilities.index(max(probabilities)),
        ),
        Misconception(
            "last_in_the_alphabet",
            "`max(words)` is the last word by the alphabet. The probabilities decide.",
            lambda words, probabilities: max(words),
        ),
        Misconception(
            "least_likely",
            "this is the least likely word. Take `max`, not `min`.",
            lambda words, probabilities: words[probabilities.index(min(probabilities))],
        ),
    ),
    minutes=3,
    difficulty=1,
)

LESSON = Lesson(
    topic="welcome",
    exercises=(LIKELIEST,),
    predictions=(
        Question(
            "welcome.under_the",
            "“Mia put the red kite under the …” How many words does the model take seriously here?",
            (
                "a few that fit",
                "It has read where things are put in these stories. All other words share next to nothing.",
            ),
            (
                (
                    "one: it is sure",
                    "Then the story could go on in one way only. What is chosen freely stays open.",
                ),
                (
                    "hundreds, each a little",
                    "Nearly all words do not fit after “under the”, and it has learned that.",
                ),
            ),
        ),
    ),
    quiz=(
        Question(
            "welcome.what_it_gives",
            "A GPT has read the beginning of a text. What does it give?",
            (
                "a probability for each possible next piece",
                "Nothing else. Dice, and going round again, make a story of it.",
            ),
            (
                (
                    "the rest of the story, all at once",
                    "The story grows piece by piece: each one is read before the next is guessed.",
                ),
                ("the one piece that must come next", "It gives all of them a chance. The dice choose."),
                (
                    "a piece that it has copied from its memory",
                    "It holds no list of texts to copy from, only numbers that turn a text into probabilities.",
                ),
            ),
        ),
        Question(
            "welcome.same_seed",
            "Same beginning, same temperature, same seed. Why does the same story come out?",
            (
                "The seed makes the dice fall the same",
                "The probabilities are computed, the same each time. The dice are all that could differ.",
            ),
            (
                ("The model remembers its last story", "Running it changes nothing in the model."),
                (
                    "The story is stored in the file",
                    "The file holds the model's numbers. Another seed gives another story.",
                ),
                (
                    "It always takes the likeliest word",
                    "Only at a temperature of 0. Here another seed would tell another story.",
                ),
            ),
        ),
        Question(
            "welcome.temperature",
            "You set the temperature to 0 and try ten seeds. What do you get?",
            ("ten times the same story", "The likeliest word wins always, so the dice decide nothing."),
            (
                (
                    "ten very different stories",
                    "A high temperature does that. A low one makes the likeliest word win.",
                ),
                ("ten texts without any sense", "That is what a temperature far above 1 does."),
                ("no text at all", "It writes as ever; it takes the likeliest word each time."),
            ),
        ),
        Question(
            "welcome.pale_words",
            "In the strip of the story, a word is pale. What does that say?",
            (
                "The model was sure that it comes",
                "Pale is little surprise. Where the story takes a turn, it is dark.",
            ),
            (
                ("The word is short", "Length plays no part; a short name can be a great surprise."),
                ("The word is rare in stories", "A rare word may be pale too, once the text has led to it."),
                (
                    "The model did not look at it",
                    "Where it looks is in the heatmaps. The strip shows surprise.",
                ),
            ),
        ),
        Question(
            "welcome.bright_cell",
            "In a heatmap of attention, the row “She” has a bright cell in the column “Anna”. What does it say?",
            (
                "At “She”, it looks back at “Anna”",
                "A row belongs to the word that looks, a column to the word that is looked at.",
            ),
            (
                (
                    "At “Anna”, it looks ahead to “She”",
                    "Rows look, and they look back: when “Anna” is read, “She” is not there yet.",
                ),
                (
                    "“She” and “Anna” mean the same",
                    "It may be why it looks. But the cell only says where it looks.",
                ),
                (
                    "“She” often comes after “Anna”",
                    "The cell is about this one text, not about how often something comes.",
                ),
            ),
        ),
    ),
    objectives=(
        ("welcome.likeliest", "welcome.what_it_gives"),
        ("welcome.bright_cell",),
        ("welcome.pale_words", "welcome.under_the"),
        ("welcome.temperature", "welcome.same_seed"),
    ),
)
