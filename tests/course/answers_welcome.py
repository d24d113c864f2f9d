"""Answers to the welcome's exercise as readers write them, right and wrong."""


def by_loop(words, probabilities):
    best = 0
    for place, p in enumerate(probabilities):
        if p > probabilities[best]:
            best = place
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
        "place": lambda words, probabilities: words.index(by_loop(words, probabilities)),
        "last_in_the_alphabet": lambda words, probabilities: sorted(words)[-1],
        "least_likely": lambda words, probabilities: by_loop(words, [-p for p in probabilities]),
    },
}
