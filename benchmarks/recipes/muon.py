"""Repeats first without the repeats first: GPT-2's layout, Muon, and whole stories."""

from dataclasses import replace

from recipes import repeats_first

TRAINING = replace(repeats_first.TRAINING, repeats_first=0.0)
run = repeats_first.run
