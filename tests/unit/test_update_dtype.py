"""Updates held in bfloat16, and the memory that aggregation takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from held import Held
from miniature import miniature

from clipfed_bench.api import ClientUpdates, RoundContext, ServerContext
from clipfed_bench.clipfed.filtering import filter_updates
from clipfed_bench.components import registry
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import evaluate
from clipfed_bench.toolbox.distances import weighted_sum

TINY = {"dataset": "digits", "model": "cnn", "clients": 6, "clients_per_round": 4, "rounds": 1, "local_epochs": 1}
TINY |= {"warmup_rounds": 0, "batch_size": 64}


def test_cells_without_the_setting_keep_the_keys_that_they_had() -> None:
    plain, explicit = CellSpec(**TINY, lr=0.1), CellSpec(**TINY, lr=0.1, update_dtype="float32")
    assert plain == explicit
    assert plain.key == "f1b8ba79ffa6637e"
    rounded = CellSpec(**TINY | {"warmup_rounds": 1}, update_dtype="bfloat16")
    assert len({rounded.key, plain.key, CellSpec(**TINY | {"warmup_rounds": 1}).key}) == 3
    assert rounded.warmup_key != CellSpec(**TINY | {"warmup_rounds": 1}).warmup_key
    with pytest.raises(UserError, match="unknown update dtype 'float16'"):
        CellSpec(**TINY, update_dtype="float16")


def test_a_cell_with_rounded_updates_is_close_to_one_without(tmp_path: Path) -> None:
    env = Environment(warmup_dir=tmp_path)
    with miniature(evaluate, train=3):
        for attack in ("badnets", "model-replacement"):
            plain = run_cell(CellSpec(**TINY, attack=attack, lr=0.01), env).history[-1]
            rounded = run_cell(CellSpec(**TINY, attack=attack, lr=0.01, update_dtype="bfloat16"), env).history[-1]
            assert plain["mta"] == pytest.approx(rounded["mta"], abs=0.02)
            assert plain["asr"] == pytest.approx(rounded["asr"], abs=0.02)


def test_weighted_sums_are_summed_in_float32() -> None:
    matrix = torch.randn(5, 300_000, generator=torch.Generator().manual_seed(0))  # more than one block
    weights = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.4], dtype=torch.float64)
    for values in (matrix, matrix.bfloat16()):
        expected = (weights[:, None] * values.double()).sum(dim=0)
        torch.testing.assert_close(weighted_sum(values, weights).double(), expected, rtol=1e-5, atol=1e-6)


def test_the_filter_of_clip_fed_takes_them() -> None:
    stream = torch.Generator().manual_seed(0)
    deltas = torch.randn(10, 500, generator=stream) * 0.1
    deltas[:2] += 1.0
    assert torch.equal(filter_updates(deltas.bfloat16(), 2, "euclidean"), filter_updates(deltas, 2, "euclidean"))
    large = torch.randn(16, 1_000_000, generator=stream)
    with Held(large) as held:
        filter_updates(large, 2, "euclidean")
    assert held.peak < 0.45 * large.numel() * 4


MIXTURES = {"bucketing": 0.5, "nnm": 1.0}
"""What a defense hands on to another one, over the updates in float32."""


class Names:
    """Of a model with one large layer before its classifier."""

    layers = {  # noqa: RUF012
        "hidden.weight": slice(0, 599_000),
        "classifier.weight": slice(599_000, 599_990),
        "classifier.bias": slice(599_990, 600_000),
    }
    shapes = {"hidden.weight": (1000, 599), "classifier.weight": (10, 99), "classifier.bias": (10,)}  # noqa: RUF012
    image_shape = (3, 1, 1)

    def predict(self, params: torch.Tensor, buffers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1).sum(dim=1, keepdim=True) * params[-10:]


OTHERS = {"clip-fed", "fldetector", "fltrust", "rkd", "snowball"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(set(registry.defenses()) - OTHERS))
def test_no_defense_takes_as_much_memory_as_the_updates(name: str, dtype: torch.dtype) -> None:
    """Sums by blocks, no copy of the whole: that is what keeps a hundred ResNets within a few gigabytes.

    CLIP-Fed, FLTrust and RKD need images of the server. FLDetector keeps the last updates, whatever it does; Snowball
    learns the first layer, which is all there is here.
    """
    count, size = 32, 600_000
    deltas = torch.ones(count, size, dtype=dtype)
    for k, row in enumerate(deltas):
        row[k::97] = 2.0
    params, buffers = torch.ones(size), torch.zeros(4)
    updates = ClientUpdates(
        deltas, torch.zeros(count, 4), torch.ones(count, dtype=torch.float64), tuple(range(count)), params, buffers
    )
    server = ServerContext(10, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, model=Names)  # type: ignore[arg-type]
    defense = registry.create_defense(registry.choose("defense", name), server)
    with Held(deltas, params, buffers) as held:
        defense.aggregate(updates, RoundContext(1))
    assert 4 * size <= held.peak < (MIXTURES.get(name, 0) + 0.45) * count * size * 4
