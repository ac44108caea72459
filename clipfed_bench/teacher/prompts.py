"""Prompt templates: the sentences that class names are put into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipfed_bench.core.errors import TeacherError, shown, unknown
from clipfed_bench.core.files import expand, read_text
from clipfed_bench.data.class_names import spoken

TEMPLATES: dict[str, tuple[str, ...]] = {
    "simple": ("a photo of a {}.",),
    # OpenAI's CIFAR-10/100 templates: github.com/openai/CLIP, data/prompts.md.
    "openai-cifar": tuple(
        template.replace(" of ", f" of {article} ")
        for article in ("a", "the")
        for template in (
            "a photo of {}.",
            "a blurry photo of {}.",
            "a black and white photo of {}.",
            "a low contrast photo of {}.",
            "a high contrast photo of {}.",
            "a bad photo of {}.",
            "a good photo of {}.",
            "a photo of small {}.",
            "a photo of big {}.",
        )
    ),
}
"""Name -> templates; ``simple`` is the default [ours, after CLIP2FL]."""


def load_templates(choice: str) -> tuple[str, ...]:
    """The templates called ``choice``, or those of a UTF-8 text file, one a line (blank lines are left out).

    Raises UserError: neither a known name nor a file; a line without exactly one ``{}``; an empty file.
    """
    check_templates(choice)
    if choice in TEMPLATES:
        return TEMPLATES[choice]
    path = expand(choice, "templates")
    if not path.is_file():
        raise TeacherError(f"templates: there is no file '{shown(choice)}'; known names: {', '.join(TEMPLATES)}.")
    lines = [line.strip() for line in read_text(path, 1_000_000, f"templates: '{shown(choice)}'").splitlines()]
    templates = tuple(line for line in lines if line)
    if not templates:
        raise TeacherError(
            f"templates: '{shown(choice)}' is empty; write one template a line, as in 'a photo of a {{}}.'."
        )
    for number, template in enumerate(templates, 1):
        if template.replace("{}", "", 1).count("{") or template.count("{}") != 1:
            raise TeacherError(
                f"templates: '{shown(template)}' (template {number} of '{shown(choice)}') does not hold the class name "
                "exactly once; write {} where it goes, as in 'a photo of a {}.'."
            )
    return templates


def check_templates(choice: str) -> None:
    """Raise UserError for what is neither a known name nor can be a file; whether a path exists is not looked at."""
    if choice not in TEMPLATES and "/" not in choice and not Path(choice).suffix and not Path(choice).is_file():
        raise unknown("templates", choice, TEMPLATES)


def prompts(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Each template filled with each class, template by template: T · C sentences."""
    return [template.replace("{}", spoken(name)) for template in templates for name in classes]
