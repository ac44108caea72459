"""The validation split: whose images it takes, and that nothing else sees them."""

from pathlib import Path

import pytest
import torch
from makers.specs import small_cell

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.data.validation import on_validation
from clipfed_bench.simulator import shared
from clipfed_bench.toolbox.images import Dataset, Images


def numbered(labels: list[int], first: int) -> Images:
    """Images that are told apart by their pixels."""
    number = torch.arange(first, first + len(labels))
    return Images((number % 251).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).to(torch.uint8), torch.tensor(labels))


def of(train: list[int], discarded: list[int] | None) -> Dataset:
    tail = None if discarded is None else numbered(discarded, 150)
    return Dataset("made", ("a", "b"), numbered(train, 0), numbered([0, 1], 200), (0.5,) * 3, (0.5,) * 3, "made", tail)


def seen(images: Images) -> set[int]:
    return set(images.images[:, 0, 0, 0].tolist())


def test_discarded_images_come_first_and_nobody_else_has_them() -> None:
    """A tenth of 40 and of 30: four of class 0, of which one is no client's; three of class 1, all discarded."""
    data = of([0] * 39 + [1] * 10, [0] + [1] * 20)
    split = on_validation(data)
    assert split.discarded is not None
    assert data.discarded is not None
    assert torch.bincount(split.test.labels).tolist() == [4, 3]
    assert seen(split.test) == {150, 36, 37, 38, 168, 169, 170}
    parts = [seen(split.test), seen(split.train), seen(split.discarded)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 70
    assert set.union(*parts) == seen(data.train) | seen(data.discarded), "no test image"


def test_without_a_long_tail_and_at_most_200() -> None:
    split = on_validation(of([0, 1] * 60, None))
    assert split.discarded is None
    assert torch.bincount(split.test.labels).tolist() == [6, 6]
    many = Images(torch.zeros(6000, 3, 1, 1, dtype=torch.uint8), torch.arange(6000) % 2)
    data = Dataset("made", ("a", "b"), many, many, (0.5,) * 3, (0.5,) * 3, "made")
    assert torch.bincount(on_validation(data).test.labels).tolist() == [200, 200]


def test_a_class_of_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="class 'b' of made has 1 training images"):
        on_validation(of([0] * 5 + [1], None))


def test_a_cell_is_evaluated_on_it(tmp_path: Path) -> None:
    """Test images where it says nothing, under the key that such cells always had; the split's where it does."""
    plain, chosen = (small_cell(dataset="digits", evaluate=where) for where in ("test", "validation"))
    assert plain.warmup_key == small_cell(dataset="digits").warmup_key
    assert plain.key == small_cell(dataset="digits").key
    assert chosen.key != plain.key
    assert chosen.warmup_key != plain.warmup_key
    test, validation = (
        shared.dataset(cell.dataset, None, cell.evaluate, None, None, "cpu") for cell in (plain, chosen)
    )
    assert len(test.train) == len(validation.train) + len(validation.test)
    assert not torch.equal(test.test.images[: len(validation.test)], validation.test.images)
    with pytest.raises(UserError, match=r"evaluate.*'tset'.*test"):
        CellSpec(evaluate="tset")
