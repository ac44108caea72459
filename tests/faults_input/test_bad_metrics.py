"""Metrics of plug-ins that cannot be used, or give what is no figure: each is named, and nothing else suffers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from bad import cases, run

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.metric import Recorded
from clipfed_bench.core.notices import shown_by
from clipfed_bench.runs import metric_catalog
from clipfed_bench.simulator.evaluate import TestSets, evaluate

GOOD = '''"""Mine: a metric of a stranger's."""

from clipfed_bench.api import Measurement


class Mine(Measurement):
    label = "mine"

    def measure(self, outputs):
        return 0.5
'''
CELL = Recorded([{"round": 0, "mine": 0.25}, {"round": 1}], [])
WHOSE = "metric 'mine' of strangers.mine"


def given(value: str, kind: str = "number") -> str:
    return GOOD.replace("0.5", value).replace("    label", f"    kind = '{kind}'\n    label")


@cases(
    ("no class", GOOD.partition("class")[0], ("must define exactly one Measurement; it has 0",)),
    ("measures nothing", GOOD.replace("def measure", "def size"), ("must define measure, final, or both",)),
    ("no label", GOOD.replace("label", "name"), ("must state its label", "at most 40 characters")),
    ("label that is made", GOOD.replace('"mine"', "str(1)"), ("its label must be a literal",)),
    ("label of two lines", GOOD.replace('"mine"', '"a\\nb"'), ("must state its label",)),
    ("no such better", GOOD.replace("    label", "    better = 'most'\n    label"), ("its better is most", "highest")),
    ("no such kind", given("1", "seconds"), ("its kind is seconds", "possible are fraction, number, integer")),
    ("no docstring", GOOD[GOOD.index("from") :], ("has no docstring",)),
)
def test_sources_that_break_a_rule(case: Any, install: Any) -> None:
    install({"mine": case.given, "fine": GOOD}, kind="metric")
    listed, said = run("list", "metrics"), list[str]()
    assert listed.err.startswith("warning: metric 'mine' of the plug-in 'theirs' (strangers) cannot be used: ")
    assert all(word in listed.err for word in case.words), listed.err
    with pytest.raises(UserError, match="metric 'mine' of the plug-in"):
        metric_catalog.find_metrics(["mine"])
    with shown_by(said.append):
        assert [metric.name for metric in metric_catalog.measured()] == ["fine"]
    assert len(said) == 1
    assert said[0].startswith("metric 'mine' of the plug-in")
    assert said[0].endswith(" It is not recorded.")


@pytest.mark.parametrize("name", ["seed", "round", "key", "device", "info_kept", "digest_model", "final_mta"])
def test_names_of_other_columns(name: str, install: Any) -> None:
    install({name: GOOD}, kind="metric")
    assert f"'{name}' is or could be another column of the results; rename its file." in run("list", "metrics").err


def test_labels_that_are_alike(install: Any) -> None:
    install({"mine": GOOD.replace('"mine"', '" mta"'), "a": GOOD, "b": GOOD}, kind="metric")
    said = run("list", "metrics").err
    assert "metric 'mine' of strangers.mine is labelled  mta, as another is; tables need two labels." in said
    assert all(f"metric '{name}' of strangers.{name} is labelled mine, as another is" in said for name in "ab")
    assert not metric_catalog.added().usable


def test_a_name_of_the_projects_own(install: Any) -> None:
    install({"mta": GOOD}, kind="metric")
    assert "two metrics are called 'mta': the built-in one and strangers.mta" in run("list", "metrics").err
    assert metric_catalog.metrics()["mta"].module is None


@cases(
    ("raises", given("1 / 0"), (f"{WHOSE}: measure raises ZeroDivisionError: division by zero",)),
    ("an import that fails", GOOD + "import nowhere_at_all\n", (f"{WHOSE}: measure", "raises ModuleNotFoundError")),
    ("text", given("'a'"), (f"{WHOSE}: measure gives a str; one number is needed",)),
    ("nothing", given("None"), ("gives a NoneType",)),
    ("several", given("outputs.clean"), ("gives a Tensor of shape (2, 3)",)),
    ("infinite", given("float('inf')"), ("gives inf; a finite number is needed, or nan where",)),
    ("no fraction", given("1.5", "fraction"), ("gives 1.5; a fraction, from 0 to 1, is needed",)),
    ("no integer", given("0.5", "integer"), ("gives 0.5; a whole number is needed",)),
)
def test_a_metric_that_goes_wrong_is_named_in_the_error_of_the_cell(case: Any, install: Any) -> None:
    install({"mine": case.given}, kind="metric")
    with pytest.raises(UserError) as caught:
        measured()
    assert all(word in str(caught.value) for word in case.words), caught.value


def measured() -> float:
    """What ``mine`` measures."""
    images = torch.zeros(2, 3, 1, 1)
    sets = TestSets(images, torch.zeros(2, dtype=torch.int64), images[:1], 1, measured=metric_catalog.measured())
    return evaluate(torch.nn.Flatten(), sets)["mine"]


def test_what_a_metric_may_give(install: Any) -> None:
    final = "\n    def final(self, values, cell):\n        return values[0] + cell.evaluations[-1]['round']\n"
    install({"mine": given("outputs.clean.sum().int()", "integer") + final}, kind="metric")
    assert measured() == 0.0
    (mine,) = metric_catalog.find_metrics(["mine"])
    with pytest.raises(UserError, match=f"{WHOSE}: final gives 1.25; a whole number is needed"):
        mine.final(CELL)
    assert math.isnan(mine.final(Recorded([{"round": 0}], [])))
