"""What names of files and folders say: which split, and whether somebody generated the images."""

from __future__ import annotations

import re
from pathlib import Path

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation", "holdout", "heldout"),
}
"""As the Hugging Face hub reads names of files, and some more."""

_WORDS = {word: split for split, words in _SPLITS.items() for word in words}
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?:set)?(?![a-z])")
_GENERATED = re.compile(r"(?<![a-z])(?<!no[nt][ _-])(generated|synthetic|synth|diffusion|fake)(?![a-z])")


def split_of(name: str) -> str | None:
    """``train``, ``validation`` or ``test``, if a word of ``name`` says so."""
    match = _SPLIT.search(name.lower())
    return _WORDS[match[1]] if match else None


def says_generated(name: str) -> bool:
    """Whether a word of ``name`` says that the images were generated."""
    return _GENERATED.search(name.lower()) is not None


def path_says_generated(path: Path, root: Path) -> bool:
    """Whether ``path``, ``root`` or a folder between them is called so."""
    return any(map(says_generated, (root.name, *path.relative_to(root).parts)))
