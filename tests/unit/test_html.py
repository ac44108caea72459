"""The report as a page: valid, self-contained, accessible, and true to the run, whatever the run holds."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from makers.frames import SECONDS, cell, frame, grid, history

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.page import facts
from clipfed_bench.report.page.html import render
from clipfed_bench.report.tables import footnotes
from clipfed_bench.report.tables.printed import spread_out
from clipfed_bench.report.tables.table import table

VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}
HOSTILE = '<script>alert("x")</script> & \x1b[31m{{ 7 * 7 }}'


class Page(HTMLParser):
    """Elements with their attributes and all the text in them; fails for tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[dict] = []
        self.open: list[dict] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open[-1]['tag']}"

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "attributes": dict(attributes), "text": "", "within": [e["tag"] for e in self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open[-1]["tag"] == tag, f"</{tag}> closes {self.open[-1]['tag']}"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(e["attributes"].get(k.rstrip("_")) == v for k, v in attributes.items())
        ]

    def sections(self):
        return [e["attributes"]["id"] for e in self.all("section")]

    def section(self, name):
        (found,) = self.all("section", id=name)
        return " ".join(found["text"].split())


def check(text: str) -> Page:
    """What holds for every report."""
    page = Page(text)
    ids = [e["attributes"]["id"] for e in page.elements if "id" in e["attributes"]]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        attributes = element["attributes"]
        assert element["tag"] not in {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
        assert "src" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        target = attributes.get("href")
        assert target is None or (target.startswith("#") and target[1:] in ids), target
        assert attributes.get("aria-labelledby") in {None, *ids}
        if element["tag"] == "th":
            assert attributes["scope"] in {"col", "colgroup", "row", "rowgroup"}
        if element["tag"] == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
    assert len(page.all("table")) == len(page.all("caption"))
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert page.all("html", lang="en")
    assert "http" not in re.sub(r"http-equiv|Content-Security-Policy", "", text)
    assert "url(" not in re.sub(r"url\(#[\w.-]+\)", "", text)
    assert "@import" not in text
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["attributes"]["content"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    return page


@pytest.fixture(scope="module")
def whole():
    results, evaluations = grid()
    return render("my-run", results, evaluations), results, evaluations


def test_every_part_of_a_whole_run(whole):
    page = check(whole[0])
    assert page.sections() == [
        *("run", "results", "paired", "curves", "tradeoff", "against", "overall", "detection", "cost", "provenance"),
    ]
    assert [e["text"] for e in page.all("h1")] == ["my-run"]
    linked = [e["attributes"]["href"][1:] for e in page.all("a") if "nav" in e["within"]]
    assert linked == page.sections()
    assert len(page.all("svg")) == 5
    assert "2 attacks × 2 defenses × 2 values of alpha × 2 seeds: 16 cells, all of them done." in whole[0]
    assert "prefers-color-scheme: dark" in whole[0]
    assert "@media print" in whole[0]


def test_the_same_run_is_the_same_page(whole):
    text, results, evaluations = whole
    assert render("my-run", results, evaluations) == text


def test_the_numbers_are_those_of_the_table(whole):
    page = check(whole[0])
    first = next(e for e in page.elements if e["tag"] == "table")["text"]
    words = " ".join(first.split())
    # badnets: MTA 50 and 52 of fedavg, 60 and 62 of krum; ASR 90 and 88, 40 and 38.
    assert "badnets, alpha 0.1 51.0 ± 1.4 89.0 ± 1.4 61.0 (best) ± 1.4 39.0 (best) ± 1.4" in words
    assert [e["text"] for e in page.all("strong")][:2] == ["61.0 (best)", "39.0 (best)"]
    assert "100" not in words


def test_what_was_run_is_said_in_words(whole):
    words = check(whole[0]).section("run")
    for part in (
        "cifar10-lt, imbalance factor 10",
        "ResNet-18 for 32×32 images",
        "100, 10 of them a round, malicious 20 %",
        "evaluated every 10 rounds",
        "Teachernone",
        "dirichlet, alpha 0.1/0.5",
    ):
        assert part in words
    assert "Not at the paper's scale" not in words


def test_what_keeps_a_run_from_the_papers_scale():
    small = [dict(cell(model="cnn", rounds=8)), dict(cell(defense="clip-fed", teacher="local", rounds=8))]
    assert footnotes.caution(small) == (
        "Not at the paper's scale, which is in brackets, so that these numbers do not compare with its: "
        "small CNN/ResNet-18 (ResNet-18), 60/0 clean rounds first (none), 8 rounds (300), "
        "local teacher (CLIP ViT-L/14)."
    )
    assert footnotes.caution([dict(cell(defense="clip-fed"))]) == ""


def test_teacher_and_server_data():
    words = dict(facts.what_was_run([cell(defense="clip-fed", teacher="local", server_data="holdout:30"), cell()]))
    assert words["Teacher"].startswith("local, templates ")
    assert words["Server data"].startswith("holdout:30 (real images that no client holds")
    assert words["Server data"].endswith(", 300 server images a class")


def test_a_teacher_that_was_trained_on_real_images_is_said():
    """A file does not look like one; server data that are real say so themselves."""
    known = {"teacher_trained_on": "holdout:500 (upper bound) 0123456789ab"}
    of_file = dict(cell(defense="clip-fed", teacher="open_clip:vit@t.safetensors")) | known
    others = [dict(cell()), dict(cell(defense="clip-fed", teacher="lit")) | {"teacher_trained_on": "generated 4567"}]
    said = "Teacher open_clip:vit@t.safetensors was trained on holdout:500 (upper bound) 0123456789ab."
    assert said in footnotes.of_cells([of_file, *others], ())
    assert not [line for line in footnotes.of_cells(others, ()) if line.startswith("Teacher ")]


def test_cost_in_numbers():
    results = frame(*(cell(rounds=4, defense=d) for d in ("fedavg", "krum")))
    page = check(render("r", results, pd.DataFrame()))
    assert "fedavg 2.000 0.250 0.250 0.750 0.500 3.750 1" in page.section("cost")
    assert "All cells together took 30.0 seconds" in page.section("cost")  # 8 + 1 + 4 + 2 of each


def test_detection_rates_of_defenses_that_have_any(whole):
    words = check(whole[0]).section("detection")
    assert "badnets, alpha 0.1 75.0 ± 0.0 25.0 ± 0.0" in words
    assert "fedavg" not in words


def test_a_tail_that_differs_has_its_table():
    results, evaluations = grid(attacks=("badnets",), alphas=(0.5,))
    assert len(grids_of(results, evaluations)) == 1
    assert len(grids_of(results.assign(asr_tail=results.asr / 2), evaluations)) == 2


def grids_of(results, evaluations):
    page = check(render("r", results, evaluations))
    return [e for e in page.all("caption") if e["text"].startswith("MTA / ASR in per cent")]


def test_everything_from_outside_is_escaped():
    results, evaluations = grid(alphas=(0.5,), seeds=(0,))
    results = results.replace({"defense": {"krum": "kr\"um'$x_1^2$<b>%&"}, "attack": {"dba": HOSTILE}})
    results["git_sha"] = HOSTILE
    results["defaults"] = '{"<i>lr": "<u>ours"}'
    failed = frame(cell(status="failed", error=HOSTILE, seed=9, attack="blend"))
    text = render("<b>run", pd.concat([results, failed]), evaluations, [f"cells/{HOSTILE}.json is left out"])
    page = check(text)
    assert not [e for e in page.elements if e["tag"] in {"b", "i", "u", "script"}]
    plain = HOSTILE.replace("\x1b", "\ufffd")
    for name in ("failed", "warnings", "provenance", "results", "run"):
        assert plain in page.section(name).replace("\u200b", ""), name
    assert "kr\"um'$x_1^2$<b>%&" in page.section("results")
    assert [e["text"] for e in page.all("h1")] == ["<b>run"]
    assert "{{ 7 * 7 }}" in text
    assert "\x1b" not in text


def test_failures_are_gathered_by_error():
    results = frame(
        *(cell(status="failed", error="boom", seed=s) for s in (0, 1)),
        cell(status="failed", error="no teacher", defense="clip-fed"),
        cell(defense="krum"),
    )
    page = check(render("r", results, pd.DataFrame()))
    words = page.section("failed")
    assert words.index("boom") < words.index("no teacher")
    assert f"badnets, fedavg, alpha 0.5, seed 1 {results.key[1]}" in words
    assert "Failed: 3 of 4 cells." in " ".join(page.all("header")[0]["text"].split())
    assert "1 done, 3 failed" in page.all("header")[0]["text"]
    assert page.all("td", class_="failed first", colspan="2")


def test_only_failures():
    page = check(render("r", frame(cell(status="failed", error="boom")), pd.DataFrame()))
    assert page.sections() == ["run", "results", "provenance", "failed", "left-out"]
    assert page.section("left-out").count("no cell of this run is done, so there is nothing to draw.") == 5
    assert "Over all settings: no cell of this run is done" in page.section("left-out")
    assert not page.all("svg")


def test_one_cell_without_a_history():
    page = check(render("r", frame(cell()), pd.DataFrame()))
    assert page.sections() == ["run", "results", "tradeoff", "cost", "provenance", "left-out"]
    words = page.section("left-out")
    assert "MTA and ASR by round: no cell of this run has a history" in words
    assert "Detection: no defense of this run rejects updates" in words
    assert "there is no axis to draw against" in words
    assert "Over all settings: defenses do not compare over settings by MTA" in words
    assert not page.all("strong")  # a defense alone is not the best of anything


def test_places_that_are_missing_or_have_fewer_seeds():
    results = frame(
        *(cell(seed=s) for s in (0, 1)), cell(defense="krum"), *(cell(attack="dba", seed=s) for s in (0, 1))
    )
    words = check(render("r", results, pd.DataFrame())).section("results")
    assert "(n=1)" in words
    assert "not run" in words


def test_results_that_are_no_cells_or_cannot_be_told_apart():
    with pytest.raises(UserError, match="no cells"):
        render("r", frame(cell()).iloc[:0], pd.DataFrame())
    twice = frame(cell(), cell() | {"key": "f" * 16})
    with pytest.raises(UserError, match=r"results\.parquet"):
        render("r", twice, pd.DataFrame())


def test_a_wide_table_is_turned():
    results = frame(*(cell(0.5 + i / 100, 0.6, defense=d) for i, d in enumerate(("fedavg", "krum", "flame"))))
    made = spread_out(table(results, decimals=1), "c")
    assert (made.corner, [row[0] for row in made.rows]) == (("defense",), ["fedavg", "krum", "flame"])
    assert made.head_lines()[0] == [("badnets, alpha 0.5", 2)]
    assert [cell.numbers[0].text for cell in made.rows[2][1:]] == ["52.0", "60.0"]
    assert [row[1].numbers[0].best for row in made.rows] == [False, False, True]
    tall = spread_out(table(grid(defenses=("fedavg",), seeds=(0,))[0]), "c")
    assert [row[:2] for row in tall.rows] == [
        ("badnets", "alpha 0.1"),
        ("badnets", "alpha 0.5"),
        ("dba", "alpha 0.1"),
        ("dba", "alpha 0.5"),
    ]
    assert [opens for _, _, opens in tall.steps()] == [False, False, True, False]


def test_provenance_that_differs_is_counted():
    records = [cell(seed=0), cell(seed=1), cell(seed=2) | {"git_sha": "def", "created": "2026-01-03T00:00:00+00:00"}]
    found = {fact.name: fact for fact in facts.provenance(records)}
    assert found["git SHA of the source"].values == (("abc123", 2), ("def", 1))
    assert not found["git SHA of the source"].shared
    assert found["version of torch"] == facts.Fact("version of torch", (("2.11.0", 3),), True)
    assert found["stored"].values == (("2026-01-02T03:04:05+00:00 to 2026-01-03T00:00:00+00:00", 3),)
    assert "mta" not in found
    assert "lr" not in found


def test_defaults_by_kind_and_owner():
    records = [
        cell(defense="krum") | {"defaults": '{"lr": "lineage", "defense.malicious": "ours", "attack.size": "paper"}'},
        cell(defense="flame") | {"defaults": '{"lr": "lineage", "defense.noise": "lineage"}'},
        cell(seed=3) | {"defaults": "not json"},
        cell(seed=4) | {"defaults": None},
        cell(seed=5) | {"defaults": "[1]"},
    ]
    assert facts.defaults(records) == [
        ("paper", [("badnets", ["size"])]),
        ("lineage", [("cell", ["lr"]), ("flame", ["noise"])]),
        ("ours", [("krum", ["malicious"])]),
    ]


def test_a_setting_of_an_older_store_that_is_unknown():
    results = frame(cell(), cell(defense="krum"))
    for name in ("min_samples", "eval_every", "attack_scale", "malicious"):
        results[name] = math.nan
    words = check(render("r", results, pd.DataFrame())).section("run")
    assert "nan" not in words.lower()
    assert "Clients100, 10 of them a round, malicious share of a round fixed Rounds300" in words


def test_history_of_other_cells_is_not_drawn():
    results = frame(cell(seconds=SECONDS))
    other = history(frame(cell(seed=7)), lambda record: {0: (0.1, 0.1)})
    assert "no cell of this run has a history" in check(render("r", results, other)).section("left-out")


def test_what_some_runs_alone_have_measured_has_its_sections():
    shots = {"mta_many": 0.8, "mta_medium": 0.5, "mta_few": 0.25}
    results = frame(*(cell(defense=d) | shots | {"lifespan": 40.0} for d in ("fedavg", "krum")))
    page = check(render("r", results, pd.DataFrame()))
    assert page.sections()[1:4] == ["results", "classes", "lifespan"]
    assert "fedavg 80.0 (best) 50.0 (best) 25.0 (best)" in page.section("classes")
    assert "rounds after the last attacked one" in page.section("lifespan").lower()
    assert "fedavg 40.0 (best)" in page.section("lifespan")
    clean = check(render("r", results.assign(asr_clean=0.0456), pd.DataFrame()))
    assert clean.sections()[1:4] == ["results", "clean", "classes"]
    assert "4.6" in clean.section("clean")
    older = check(render("r", results.assign(asr_clean=math.nan), pd.DataFrame()))
    assert older.sections()[1:3] == ["results", "classes"], "ASR alone, as an older version stored it, says nothing"
    lacking = check(render("r", results.assign(**dict.fromkeys(shots, math.nan)), pd.DataFrame()))
    assert lacking.sections()[1:3] == ["results", "lifespan"]
