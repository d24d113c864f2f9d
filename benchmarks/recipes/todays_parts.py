"""Copy heads without the copy heads: what is left is the same model, the same steps on the same stories."""

from dataclasses import replace
from functools import partial

from recipes import copy_heads

from gptlib import GPT

MODEL = replace(copy_heads.MODEL, copy_heads=None)
TRAINING = copy_heads.TRAINING
run = partial(copy_heads.run, build=partial(GPT, MODEL))
