"""What names of files and folders say: which split, and whether somebody generated the images."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.untrusted import reading

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


class Readmes:
    """What READMEs of data sets from the Hugging Face hub state of splits, each read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[Path, dict[str, str]] = {}

    def split_of(self, path: Path) -> tuple[Path, str] | None:
        """The folder with the README, up to the root, that states the split of ``path``, and the split."""
        for folder in path.parents:
            if folder not in self._read:
                self._read[folder] = _stated(folder / "README.md")
            name = path.relative_to(folder).as_posix()
            split = next((split for pattern, split in self._read[folder].items() if fnmatch(name, pattern)), None)
            if split is not None:
                return folder, split_of(split) or split
            if folder == self._root:
                break
        return None


def _stated(readme: Path) -> dict[str, str]:
    """Pattern of paths -> split; empty where nothing is stated, or of several configurations."""
    if not readme.is_file():
        return {}
    try:
        with reading(), readme.open(encoding="utf-8") as file:
            head = re.match(r"---\s*\n(.*?)\n---", file.read(2**20), re.DOTALL)
            if head is None or "configs:" not in head[1]:
                return {}
            import yaml

            stated: Any = yaml.safe_load(head[1])
            (config,) = stated["configs"]
            pairs = [(item["path"], str(item["split"])) for item in config["data_files"]]
            return {str(p): split for path, split in pairs for p in (path if isinstance(path, list) else [path])}
    except DamagedFileError:
        return {}


def says_generated(name: str) -> bool:
    """Whether a word of ``name`` says that the images were generated."""
    return _GENERATED.search(name.lower()) is not None


def path_says_generated(path: Path, root: Path) -> bool:
    """Whether ``path``, ``root`` or a folder between them is called so."""
    return any(map(says_generated, (root.name, *path.relative_to(root).parts)))
