"""The ledgers of docs/ point to code that is there, its pages to pages that are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = re.compile(r"`([a-z_/0-9]+\.py)`((?:,? `[A-Za-z_.]+`)*)")


def references():
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    for path, names in REFERENCE.findall(text):
        yield path, tuple(re.findall(r"`([A-Za-z_.]+)`", names))


def test_the_ledger_has_references():
    assert len(list(references())) > 30


@pytest.mark.parametrize(("path", "names"), sorted(set(references())))
def test_every_reference_of_the_ledger_exists(path, names):
    file = next((f for f in (ROOT / "clipfed_bench" / path, ROOT / path) if f.is_file()), None)
    assert file is not None, f"docs/fidelity.md names {path}"
    code = file.read_text(encoding="utf-8")
    for name in names:
        last = name.rpartition(".")[2]
        assert re.search(rf"(def|class) {last}\b|^\s+{last}: ", code, re.M), f"{path} has no {name}"


DOCS = ROOT / "docs"
GENERATED = set(re.findall(r'^write\("([a-z-]+\.md)"', (DOCS / "generate.py").read_text(encoding="utf-8"), re.M))
PAGES = {path.name for path in DOCS.glob("*.md")} | GENERATED


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": ([a-z-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(PAGES)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (DOCS / page).read_text(encoding="utf-8"))
    assert set(links) <= PAGES | {path.name for kind in ("svg", "png") for path in DOCS.glob(f"*.{kind}")}
