"""Figures as SVG that can stand in a page: whole, of one look, and harmless whatever names it shows."""

import re
import xml.etree.ElementTree as ET

import pytest
from makers.frames import grid

from clipfed_bench.report import plots
from clipfed_bench.report.plots.inline_svg import drawing_inline, inline_svg

NASTY = r'a"b<script>alert(1)</script>$\frac{1}$_%&#{x}~^'


@pytest.mark.parametrize("kind", plots.KINDS)
def test_names_mean_nothing_to_the_plotter(kind):
    results, evaluations = grid(("fedavg", "krum", "median"), attacks=("badnets",), seeds=(0,))
    results = results.replace({"defense": {"krum": NASTY}})
    with drawing_inline():
        (page, *_) = plots.pages(kind, results, evaluations)
        text = inline_svg(page.figure, page.shows, "x-")
    shown = "".join("".join(node.itertext()) for node in ET.fromstring(text).iter("text"))
    assert re.sub(r"\s", "", NASTY) in re.sub(r"\s", "", shown)
    assert "<script" not in text


def test_control_characters_do_not_break_the_svg():
    results, evaluations = grid()
    results = results.replace({"attack": {"dba": "\x1b[31mdba\x00"}})
    with drawing_inline():
        (page,) = plots.pages("tradeoff", results, evaluations)
        text = inline_svg(page.figure, page.shows, "x-")
    assert "\ufffd[31mdba\ufffd" in text


def test_svg_for_a_page_asks_for_nothing_and_shares_no_ids():
    results, evaluations = grid(("fedavg", "krum", "median"))
    with drawing_inline():
        made = [
            inline_svg(page.figure, page.shows, f"{page.stem}-")
            for kind in plots.KINDS
            for page in plots.pages(kind, results, evaluations)
        ]
    ids = [found for text in made for found in re.findall(r'\bid="([^"]+)"', text)]
    assert len(ids) == len(set(ids)) > 5
    for text in made:
        root = ET.fromstring(text)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert not {"style", "metadata", "script"} & {node.tag for node in root.iter()}
        assert "http" not in text
        assert "font-family" not in text
        own = set(re.findall(r'\bid="([^"]+)"', text))
        assert set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text)) <= {
            pair for name in own for pair in ((name, ""), ("", name))
        }
        assert "currentColor" in text
        assert not set(re.findall(r"#[0-9a-f]{6}\b", text)) - {"#000000", "#7f7f7f"}
    assert set(re.findall(r"var\(--s\d\)", made[0])) == {"var(--s0)", "var(--s1)", "var(--s6)"}  # as everywhere
