"""The partition of a cell: its options, those of them that are settings, its key and its names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clipfed_bench.config import words
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError


def test_alpha_and_degree_are_settings_wherever_they_are_written() -> None:
    inside, beside = CellSpec(partition="dirichlet[alpha=0.1]"), CellSpec(alpha=0.1)
    assert inside == beside
    assert (inside.key, inside.warmup_key, inside.prefix_key) == (beside.key, beside.warmup_key, beside.prefix_key)
    assert (str(inside.partition), inside.alpha, inside.degree) == ("dirichlet", 0.1, None)
    assert inside.scheme.options == {"alpha": 0.1}
    assert replace(inside, alpha=0.3) == CellSpec(alpha=0.3)
    assert replace(inside, partition="degree[degree=0.2]").scheme.options == {"degree": 0.2}
    assert CellSpec(**inside.as_dict()) == inside


def test_other_options_are_part_of_label_and_keys() -> None:
    cells = [CellSpec(partition=text) for text in ("shards", "shards[per_client=2]", "shards[per_client=3]", "iid")]
    assert cells[0] == cells[1]
    for name in ("key", "warmup_key", "prefix_key"):
        assert len({getattr(cell, name) for cell in cells}) == 3
    assert [cell.as_dict()["partition"] for cell in cells[1:]] == ["shards", "shards[per_client=3]", "iid"]
    assert cells[2].alpha is None


@pytest.mark.parametrize(
    ("partition", "spoken"),
    [("dirichlet", "α=0.5"), ("degree", "q=0.4"), ("iid", "iid"), ("quantity[beta=2]", "quantity[beta=2]")],
)
def test_a_partition_in_a_word(partition: str, spoken: str) -> None:
    assert words.partition(CellSpec(partition=partition)) == spoken
    assert spoken in words.in_brief(CellSpec(partition=partition))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "dirichlet[alpha=0]"}, "alpha: 0 is out of range; it must be from 0.001 to 1e+09"),
        ({"partition": "dirichlet[alpha=x]"}, "dirichlet[alpha]: 'x' is not a number"),
        ({"partition": "dirichlet[beta=1]"}, "unknown option of partition dirichlet 'beta'"),
        ({"partition": "dirichlet[alpha=0.1]", "alpha": 0.3}, "alpha: 0.3, and 0.1 in dirichlet[alpha=0.1]"),
        ({"partition": "dirichlet", "alpha": None}, "alpha: the partition dirichlet needs a value"),
        ({"partition": "shards[per_client=500]"}, "50,000 shards of 20,431 images; at most 204 each"),
        ({"partition": "quantity[beta=-1]"}, "beta is -1; it goes from 0.001"),
        ({"partition": "natural"}, "cifar10-lt does not say who made its images"),
    ],
)
def test_impossible_partitions_are_refused_before_data_are_read(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        CellSpec(**settings)  # type: ignore[arg-type]
    assert message in str(error.value)
