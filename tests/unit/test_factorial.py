"""The figure of CLIP-Fed's parts against the teacher's accuracy: which cells it takes, and what it says of others."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from benchmarks.factorial import cells, draw, summary

RUN = pd.DataFrame(
    [
        ("badnets", None, "fedavg", None, 0, 0.55, 0.9),
        ("badnets", "holdout:10", "fedavg", None, 0, 0.57, 0.9),
        ("badnets", "generated", "clip-fed", "local", 0, 0.58, 0.05),
        ("badnets", "generated", "clip-fed", "local", 1, 0.60, 0.07),
        ("badnets", "generated", "clip-fed", "lit", 0, 0.61, 0.04),
        ("badnets", "holdout:10", "clip-fed", "lit", 0, 0.63, 0.03),
        ("dba", "generated", "clip-fed", "lit", 0, 0.5, 0.5),
    ],
    columns=["attack", "server_data", "defense", "teacher", "seed", "mta", "asr"],
).assign(status="done")


@pytest.mark.parametrize(("data", "fedavg", "others"), [("generated", 0.55, 3), ("holdout:10", 0.57, 1)])
def test_a_defense_without_server_data_stands_beside_those_with_it(data, fedavg, others):
    found = cells(RUN, "badnets", data)
    assert found.loc[found["defense"] == "fedavg", "mta"].tolist() == [fedavg], "its own clients' where they differ"
    assert (found["defense"] == "clip-fed").sum() == others


@pytest.mark.parametrize(("attack", "data"), [("badnets", "glyphs"), ("blend", "generated")])
def test_cells_that_are_not_there_are_named(attack, data):
    with pytest.raises(ValueError, match=f"{attack}, {data}: there are no such cells"):
        cells(RUN, attack, data)


def test_cells_that_differ_in_more_are_refused():
    with pytest.raises(ValueError, match="differ in more than defense, teacher and seed"):
        cells(pd.concat([RUN, RUN]), "badnets", "generated")


def test_means_stand_at_the_teachers_accuracy():
    right = {"local": 0.4, "lit": 0.75, "holdout:10/lit": 0.86}
    rows = {data: summary(cells(RUN, "badnets", data), right) for data in ("generated", "holdout:10")}
    numbers = rows["generated"].set_index(["defense", "right"])
    assert numbers.loc[("clip-fed", 0.4), ["mta_mean", "seeds"]].tolist() == pytest.approx([0.59, 2])
    assert numbers.loc[("clip-fed", 0.75), "asr_mean"] == 0.04
    of_real = rows["holdout:10"].set_index("defense")["right"]
    assert of_real["clip-fed"] == 0.86, "lit is trained on the server's data"
    assert [math.isnan(right) for right in rows["generated"]["right"]] == [False, False, True]
    figure = draw(rows)
    assert [axes.get_title() for axes in figure.axes] == ["generated", "generated", "holdout:10", "holdout:10"]
    x, y = figure.axes[0].lines[0].get_data()
    assert (list(x), list(y)) == ([40.0, 75.0], pytest.approx([59.0, 61.0])), "in per cent"
