"""A GPT you can see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill

import torch
from torch import Generator

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.viz import figures


def likeliest(words: Sequence[str], probabilities: Sequence[float]) -> str:
    return words[probabilities.index(max(probabilities))]


def words_to_choose_from(generator: Generator) -> Iterator[tuple[list[str], list[float]]]:
    yield ["bed", "table", "dragon"], [0.2, 0.5, 0.3]
    yield ["tree", "bench", "bridge", "bed"], [0.1, 0.2, 0.55, 0.15]
    yield ["table", "stairs"], [0.7, 0.3]
    numbers = torch.rand(6, generator=generator)
    yield ["kite", "red", "under", "put", "Mia", "the"], (numbers / numbers.sum()).tolist()
    for n_words in (8, 9, 10, 11):  # so many that a draw by chance hardly ever finds the likeliest in all
        numbers = torch.rand(n_words, generator=generator)
        words = ["kite", "red", "under", "put", "Mia", "the", "boat", "drum", "a", "Tom", "and"][:n_words]
        yield words, (numbers / numbers.sum()).tolist()


LIKELIEST = Exercise(
    name="welcome.likeliest",
    reference=likeliest,
    inputs=words_to_choose_from,
    buys="Call it again and again on a longer and longer text, and you have a machine that writes.",
    hints=(
        "Find the largest probability, and then the word that it belongs to.",
        "words and probabilities are two lists of the same length, and probabilities[n] belongs to words[n]. The result is "
        "one word.",
        "max(probabilities) is the largest of them. probabilities.index(...) gives its position in the list, and words[...] "
        "gives the word at that position.",
    ),
    misconceptions=(
        Misconception(
            "probability",
            "this is the largest probability. Return the word that it belongs to.",
            lambda words, probabilities: max(probabilities),
        ),
        Misconception(
            "position",
            "this is the position of the word in the list. Return the word itself, `words[position]`.",
            lambda words, probabilities: probabilities.index(max(probabilities)),
        ),
        Misconception(
            "last_in_the_alphabet",
            "this is the word that comes last in alphabetical order, which is what `max(words)` gives. Look for the largest "
            "probability instead.",
            lambda words, probabilities: max(words),
        ),
        Misconception(
            "least_likely",
            "this is the least likely word. Take the largest probability, not the smallest.",
            lambda words, probabilities: words[probabilities.index(min(probabilities))],
        ),
        Misconception(
            "first_word",
            "this is the first word of the list, whatever its probability. Use the probabilities to choose.",
            lambda words, probabilities: words[0],
        ),
        Misconception(
            "last_word",
            "this is the last word of the list, whatever its probability. Use the probabilities to choose.",
            lambda words, probabilities: words[-1],
        ),
        Misconception(
            "longest_word",
            "this is the word with the most letters. Compare the probabilities, not the lengths of the words.",
            lambda words, probabilities: max(words, key=len),
        ),
        Misconception(
            "in_a_list",
            "the right word comes back inside a list. Return the word itself.",
            lambda words, probabilities: [likeliest(words, probabilities)],
        ),
        Misconception(
            "word_and_probability",
            "the right word comes back together with its probability. Return the word alone.",
            lambda words, probabilities: (likeliest(words, probabilities), max(probabilities)),
        ),
        Misconception(
            "probability_and_word",
            "you returned the largest probability together with its word. Return the word alone, which is the second of the two.",
            lambda words, probabilities: (max(probabilities), likeliest(words, probabilities)),
        ),
    ),
    minutes=3,
    difficulty=1,
)


def side_by_side(told: Mapping[float, str]) -> str:
    """What was told at each temperature, as lines of text."""
    return "\n\n".join(
        fill(f"temperature {temperature}: {text} …", width=90) for temperature, text in told.items()
    )


LESSON = Lesson(
    topic="welcome",
    exercises=(LIKELIEST,),
    predictions=(
        Prediction(
            "welcome.under_the",
            "The model reads “Mia was a brave girl. Mia put the red kite under the …” and gives a probability to each of the "
            "2,048 words and pieces of words that it knows. How is the probability shared out?",
            (
                "a few words have nearly all of it",
                "The text narrows the choice down to a few things that a kite can be put under, and does not say which.",
            ),
            (
                (
                    "one word has nearly all of it",
                    "Then the story could go on in only one way. Nothing in the text settles where the kite goes, so more than "
                    "one word keeps a good share.",
                ),
                (
                    "hundreds of words have a little each",
                    "Hundreds of words would be possible in English. In the stories that this model has read, few things come "
                    "after “under the”.",
                ),
            ),
            shows=lambda probabilities, pieces: figures.next_token_bars(
                probabilities, pieces, k=6, title="“Mia put the red kite under the …”"
            ),
            finding="Three words have nearly all of the probability, and the other two thousand or so share what is left. So the "
            "dice nearly always choose one of those three. The same beginning can lead to different stories, and nearly all of "
            "them go on with something that fits.",
        ),
        Prediction(
            "welcome.zoe_again",
            "The story at the top says “Zoe” seven times. A word with a low probability surprises the model when it comes. At which "
            "“Zoe” was the model surprised?",
            (
                "at the first, and hardly at the others",
                "Once the name has been said, the model can look back at it.",
            ),
            (
                (
                    "at each of them, about equally",
                    "That would be true of a model that sees only the last few words: it would have to guess the name again "
                    "each time. This one can look back at it.",
                ),
                (
                    "a little less at each one than at the one before",
                    "The name need not be said again and again: from the second time on, there is hardly any surprise left.",
                ),
            ),
            shows=lambda words, surprise: figures.text_strip(
                words, surprise, title="How surprised the model was by each word of its own story"
            ),
            finding="The darker a word, the more it surprised the model. The first “Zoe” is the darkest word of all, because many "
            "names could have come there. The other six are nearly white, except one at the start of a sentence that could also have begun with a "
            "quotation mark.\n\n"
            "The rest of the story looks much the same. It takes a turn at a few dark words, such as “Nina” or “muffin”, and at most "
            "of the others the model was almost sure of what would come.",
        ),
        Prediction(
            "welcome.boldness",
            "The model continues the same beginning three times, at temperatures of 0.1, 1 and 2.5, which means that the dice are "
            "rolled more and more boldly. What is the text at 2.5 like?",
            (
                "words that do not fit together, and some that are not even words",
                "Unlikely pieces get chosen too often, and they are unlikely because they do not fit.",
            ),
            (
                (
                    "good sentences that tell a more original story",
                    "Most of what the model finds unlikely is not original but wrong. A high temperature makes the dice bolder and leaves the "
                    "model as it is.",
                ),
                (
                    "the same story in other words",
                    "The model has no story in mind that it could reword. Each word is chosen by the dice, and then read as part of "
                    "the text.",
                ),
            ),
            shows=side_by_side,
            finding="At 0.1 and at 1 the sentences fit together. At 2.5 they break, and so do some of the words. The model is the same all "
            "three times. Only the way in which the dice choose from its probabilities has changed.",
        ),
    ),
    quiz=(
        Question(
            "welcome.what_it_gives",
            "A GPT has read the beginning of a text. What does it compute?",
            (
                "a probability for each possible next piece",
                "That is all it computes. Rolling the dice again and again turns these probabilities into a story.",
            ),
            (
                (
                    "the rest of the story, all at once",
                    "The story grows piece by piece, and each piece is read before the next one is guessed.",
                ),
                (
                    "the one piece that must come next",
                    "It gives every piece some chance, and the dice choose.",
                ),
                (
                    "a piece that it has copied from its memory",
                    "It keeps no list of texts to copy from. It holds only numbers, which turn a text into probabilities.",
                ),
            ),
        ),
        Question(
            "welcome.same_seed",
            "You use the same beginning, the same temperature and the same seed twice. Why do you get the same story?",
            (
                "The seed makes the dice fall the same way",
                "The model computes the same probabilities each time. Only the dice could make a difference.",
            ),
            (
                ("The model remembers its last story", "Running the model changes nothing in it."),
                (
                    "The story is stored in the file",
                    "The file holds the numbers of the model. Another seed gives another story.",
                ),
                (
                    "It always takes the likeliest word",
                    "It does so only near a temperature of 0. At higher temperatures another seed gives another story.",
                ),
            ),
        ),
        Question(
            "welcome.temperature",
            "You set the temperature to 0 and try ten seeds. What do you get?",
            (
                "the same story ten times",
                "The model takes the likeliest word every time, so there is nothing for the dice to decide.",
            ),
            (
                (
                    "ten very different stories",
                    "A high temperature does that. At 0 the likeliest word is always taken.",
                ),
                ("ten texts that make no sense", "That is what happens far above 1."),
                ("no text at all", "It writes as usual, but takes the likeliest word every time."),
            ),
        ),
        Question(
            "welcome.pale_words",
            "A word is pale in the figure that colors the story by surprise. What does that tell you?",
            (
                "The model expected this word",
                "Pale means little surprise. The words at which the story takes a turn are dark.",
            ),
            (
                ("The word is short", "Length plays no part, and a short name can be a great surprise."),
                (
                    "The word is rare in stories",
                    "A rare word can be pale as well, if the text has led up to it.",
                ),
                (
                    "The model did not look at it",
                    "The heatmaps show where the model looks. This figure shows how surprised it was.",
                ),
            ),
        ),
        Question(
            "welcome.bright_cell",
            "In a heatmap of attention, the row “She” has a bright cell in the column “Anna”. What does that tell you?",
            (
                "At “She”, the head looks back at “Anna”",
                "A row belongs to the word that looks, and a column to the word that is looked at.",
            ),
            (
                (
                    "At “Anna”, the head looks ahead to “She”",
                    "The row is the word that looks. And no word looks ahead: when “Anna” is read, “She” is not there yet.",
                ),
                (
                    "“She” and “Anna” are the same person",
                    "That may be the reason for it, but the cell says only where the head looks.",
                ),
                (
                    "“She” often comes after “Anna”",
                    "The cell is about this one text, not about how often something happens in others.",
                ),
            ),
        ),
    ),
    objectives=(
        ("welcome.likeliest", "welcome.what_it_gives"),
        ("welcome.bright_cell",),
        ("welcome.pale_words", "welcome.under_the", "welcome.zoe_again"),
        ("welcome.temperature", "welcome.same_seed", "welcome.boldness"),
    ),
)
