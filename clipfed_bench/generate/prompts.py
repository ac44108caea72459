"""Prompts: class names with descriptors and contexts, as "a small airplane beneath a cloudy sky" (PAPER section 2(a)).

The paper states neither its prompts nor how many; words and order are ours.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any

from clipfed_bench.data.class_names import normalize, spoken

VERSION = "1"
"""Of the built-in prompts: changes with the word lists, since other prompts make another data set."""


@cache
def _words() -> dict[str, Any]:
    """``words.toml``, which says what it holds."""
    return tomllib.loads((files(__package__) / "words.toml").read_text("utf-8"))


def built_in(name: str, seed: int) -> list[str]:
    """Every prompt for the class ``name``, all different (some 700), in an order that name and ``seed`` fix."""
    words, known_as = _words(), normalize(name)
    kind = next((kind for kind in words["kinds"] if known_as in kind["classes"]), words["anything"])
    noun = words["nouns"].get(known_as, spoken(name))
    texts = [
        f"{view} {article(look)} {look} {noun} {place}".strip()
        for view, look, place in product(kind["views"], kind["looks"], kind["places"])
    ]
    # By hash and not by a random generator: the order is then the same in every version of every library.
    return sorted(texts, key=lambda text: hashlib.sha256(f"{seed}/{text}".encode()).digest())


def class_prompts(name: str, seed: int, templates: Sequence[str] | None = None) -> list[str]:
    """The prompts for a class, in the order in which images take them; ``templates`` replace the built-in ones."""
    if templates is None:
        return built_in(name, seed)
    return [template.replace("{}", spoken(name)) for template in templates]


def pick(prompts: Sequence[str], index: int, spare: bool = False) -> str:
    """The prompt of the ``index``-th image of a class, all over again after the last; a ``spare`` one from the end."""
    place = index % len(prompts)
    return prompts[-1 - place if spare else place]


def article(word: str) -> str:
    """``a`` or ``an`` for a word of the lists above."""
    silent = ("uni", "use", "one", "eu")
    return "an" if word[0] in "aeiou" and not word.startswith(silent) else "a"
