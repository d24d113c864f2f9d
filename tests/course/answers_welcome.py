"""Answers to the welcome's exercise as readers write them, right and wrong."""

import random


def by_loop(words, probabilities):
    best = 0
    for at, p in enumerate(probabilities):
        if p > probabilities[best]:
            best = at
    return words[best]


RIGHT = {
    "welcome.likeliest": [
        by_loop,
        lambda words, probabilities: max(zip(probabilities, words, strict=True))[1],
        lambda words, probabilities: dict(zip(probabilities, words, strict=True))[max(probabilities)],
    ],
}

WRONG = {
    "welcome.likeliest": {
        "probability": lambda words, probabilities: sorted(probabilities)[-1],
        "position": lambda words, probabilities: words.index(by_loop(words, probabilities)),
        "last_in_the_alphabet": lambda words, probabilities: sorted(words)[-1],
        "least_likely": lambda words, probabilities: by_loop(words, [-p for p in probabilities]),
        "first_word": lambda words, probabilities: next(iter(words)),
        "last_word": lambda words, probabilities: words[len(words) - 1],
        "longest_word": lambda words, probabilities: sorted(words, key=len, reverse=True)[0],
        "in_a_list": lambda words, probabilities: [
            word for word, p in zip(words, probabilities, strict=True) if p == max(probabilities)
        ],
        "word_and_probability": lambda words, probabilities: max(
            zip(words, probabilities, strict=True), key=lambda pair: pair[1]
        ),
        "probability_and_word": lambda words, probabilities: max(zip(probabilities, words, strict=True)),
    },
}


REFUSED = {
    "welcome.likeliest": {
        "draws": lambda words, probabilities: random.Random(1).choices(words, probabilities)[0],
        "above_half": lambda words, probabilities: next(
            (word for word, p in zip(words, probabilities, strict=True) if p > 0.5), None
        ),
        "least_likely_by_sorting": lambda words, probabilities: sorted(
            zip(probabilities, words, strict=True)
        )[0][1],
        "second_word": lambda words, probabilities: words[1],
    },
}
