"""Copy heads, and at first mostly what a story says again: whether the two add up."""

from dataclasses import replace

from recipes import copy_heads, repeats_first

TRAINING = replace(copy_heads.TRAINING, repeats_first=repeats_first.TRAINING.repeats_first)
run = copy_heads.run
