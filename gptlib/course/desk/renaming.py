"""What notebooks were called before, and how a reader's files follow them to their new names.

An old number may be another notebook's today: generation was 10, and training is. So files go by their whole
old names, and never by a number.
"""

from __future__ import annotations

import os
from pathlib import Path

# The names in the first edition of the course, whose readers have work/ folders with them: name -> topic.
FORMER_NAMES = {
    "00_welcome": "welcome",
    "01_language_models": "language_models",
    "02_tokens": "tokens",
    "03_attention": "attention",
    "04_causal_attention": "causal_attention",
    "05_positions": "positions",
    "06_many_heads": "many_heads",
    "07_block": "block",
    "08_gpt": "gpt",
    "09_training": "training",
    "10_generation": "generation",
    "11_gpt2": "published",
    "12_finetuning": "finetuning",
    "13_looking_inside": "looking_inside",
    "14_modern_gpt": "modern_gpt",
    "15_scale": "scale",
    "16_rivals": "rivals",
    "18_myths": "myths",
}


def rename(work: Path, old: str, new: str) -> None:
    """Give a notebook's files in work/ the name `new` in place of `old`: backups, bases, the reader's own.

    Nothing is written over: a backup or base of the new name gets another one. The reader's own moves last,
    so that after a kill at any moment it still has its old name, and the next call moves what is left.

    Raises FileExistsError if the reader has a notebook of the new name too; then nothing is moved.
    """
    if os.path.lexists(work / f"{new}.ipynb"):
        raise FileExistsError(f"{new}.ipynb is there already")
    for path in (
        *sorted((work / "backups").glob(f"{old}.*")),
        *sorted(work.glob(f"{old}.unreadable.*")),
        *sorted((work / ".course").glob(f"{old}.*")),
        work / f"{old}.ipynb",
    ):
        target = path.with_name(new + path.name.removeprefix(old))
        if os.path.lexists(target):
            target.rename(_free_name(target))
        path.rename(target)


def _free_name(path: Path) -> Path:
    number = 1
    while os.path.lexists(free := path.with_name(f"{path.stem}.earlier-{number}{path.suffix}")):
        number += 1
    return free
