"""Data sets of images that are not 3×32×32, from their source to the end of a cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from makers.specs import environment, small_cell

from clipfed_bench.api import AttackContext
from clipfed_bench.clipfed import server_set
from clipfed_bench.core.errors import UserError
from clipfed_bench.data import catalog
from clipfed_bench.data.arrays import gray
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.info import describe
from clipfed_bench.data.server_set import near
from clipfed_bench.data.server_set.load import load_server_data
from clipfed_bench.simulator.cell import run_cell

SOURCE = '''"""Stripes: bright above, or bright below."""

import numpy as np
from clipfed_bench.api import DataSource
from clipfed_bench.core.splits import Split


class Stripes(DataSource):
    classes = ("above", "below")
    image_shape = {shape}
    train_per_class = 30
    test_per_class = 10
    teacher = "local[epochs=1,width=2,depth=1,image_size=32]"

    def load(self, folder):
        return draw(30, 0), draw(10, 1)

    def generated(self, folder):
        return draw(8, 2)


def draw(count, stream):
    images = np.random.default_rng(stream).integers(0, 128, (2 * count, *Stripes.image_shape)).astype(np.uint8)
    half = Stripes.image_shape[1] // 2
    images[:count, :, :half] += 100
    images[count:, :, half:] += 100
    return Split(images, np.repeat([0, 1], count))
'''


@pytest.fixture(params=[(1, 28, 28), (3, 64, 64)], ids=["gray28", "color64"])
def shape(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, int, int]]:
    """A data set ``stripes28`` or ``stripes64`` of that shape, as a plug-in would add it."""
    shape: tuple[int, int, int] = request.param
    name = f"stripes{shape[1]}"
    (tmp_path / f"{name}.py").write_text(SOURCE.format(shape=shape))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(catalog.originals(), name, describe(name, name, str(tmp_path / f"{name}.py")))
    return shape


def test_a_cell_from_end_to_end(shape: tuple[int, int, int], tmp_path: Path) -> None:
    """The gray one with a trigger, server data, a teacher and CLIP-Fed's noise; from the other the model learns."""
    name = f"stripes{shape[1]}"
    settings = {"dataset": name, "target": 1, "min_samples": 2, "clients": 6, "clients_per_round": 3, "malicious": 0.34}
    taught = {"model": "lenet5", "rounds": 1, "attack": "blend", "defense": "clip-fed"}
    learned = {"model": "cnn", "rounds": 3, "attack": "none", "partition": "iid", "eval_every": 3}
    settings |= taught if shape[0] == 1 else learned
    env = environment(tmp_path, "cache")
    final = run_cell(small_cell(**settings), env).final
    assert final["mta"] > 0.9 if shape[0] == 3 else 0 <= final["asr"] <= 1
    assert len(load_dataset(name).mean) == shape[0]


def test_a_trigger_that_does_not_fit_says_so(shape: tuple[int, int, int], tmp_path: Path) -> None:
    outside = small_cell(dataset=f"stripes{shape[1]}", target=1, min_samples=2, attack="badnets[row=60,col=60]")
    if shape[1] == 28:
        with pytest.raises(UserError, match="leaves the image of 28×28 pixels; row is 0 to 23"):
            run_cell(outside, environment(tmp_path))
        gray_only = small_cell(dataset="stripes28", target=1, min_samples=2, attack="frequency")
        with pytest.raises(UserError, match="these have 1 channels, not 3"):
            run_cell(gray_only, environment(tmp_path))


def test_server_images_from_files_become_what_the_data_set_is(shape: tuple[int, int, int], tmp_path: Path) -> None:
    from PIL import Image

    for name in ("above", "below"):
        (tmp_path / "server" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "server" / name / "0.png")
    server = load_server_data(str(tmp_path / "server"), load_dataset(f"stripes{shape[1]}"))
    assert server.data.images.shape == (2, *shape)
    assert server.data.images[0, 0].unique().tolist() == [76 if shape[0] == 1 else 255]


def test_luma_of_known_colors() -> None:
    colors = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[..., None, None]
    assert gray(colors).ravel().tolist() == [0, 255, 76, 150, 29]


def test_means_of_blocks_whose_edges_cut_pixels() -> None:
    """Against pixels repeated until blocks are of whole ones."""
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28)).astype(np.uint8)
    whole = images.repeat(4, axis=2).repeat(4, axis=3)
    np.testing.assert_allclose(near._means(images, 16), near._means(whole, 16), rtol=1e-5)
    assert near.near_duplicates(images, images) == 3
    assert near.near_duplicates(images, 255 - images) == 0


@pytest.mark.parametrize("value", ["(2, 32, 32)", "(3, 32, 28)", "(3, 4, 4)", "(3, 32)", "32", "(1.0, 28, 28)"])
def test_shapes_that_cannot_be(value: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE.format(shape=value))
    with pytest.raises(UserError, match=r"its image_shape is .* is needed, as in"):
        describe("mine", "mine", str(path))


def test_a_teacher_sees_gray_as_three_equal_colors() -> None:
    from clipfed_bench.teacher.preprocess import Preprocess

    images = torch.rand(2, 1, 28, 28)
    seen = Preprocess((28, 28), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))(images)
    assert torch.equal(seen, ((images - 0.5) / 0.25).expand(2, 3, 28, 28))


def test_a_probe_that_does_not_fit_says_whose_it_is() -> None:
    with pytest.raises(
        UserError, match=r"clip-fed\[probe=a3fl\[row=26\]\]: a3fl: a square .* leaves the image of 28×28"
    ):
        server_set._probe("a3fl[row=26]", AttackContext(0, 2, (1, 28, 28)))
