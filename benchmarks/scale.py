"""How much is measured: by device, model, images, and whether it has to be quick."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clipfed_bench.components.registry import choose as choose_component
from clipfed_bench.data.catalog import info
from clipfed_bench.execution.estimate import RESNET18_FLOPS
from clipfed_bench.models.counts import training_flops

SMALL_FLOPS = 1e8
"""To train on one image: what needs fewer is measured as the small CNN is, which needs 17 million."""


@dataclass(frozen=True)
class Scale:
    """Amounts for one model on one device."""

    batch_sizes: tuple[int, ...] = (64, 16, 256)
    """Of training steps; the first is the one that ratios are reported for."""
    images: int = 512
    """Trained in each timing of training steps, by all clients together."""
    step_clients: int = 2
    """Clients in a timing of training steps; on a GPU several train side by side."""
    repetitions: int = 9
    clients: int = 10
    """In a round."""
    client_images: int = 500
    """Each client's in a round."""
    epochs: int = 2
    test_images: int = 10_000
    server_images: int = 3_000
    """CLIP-Fed's; augmentation doubles them."""
    rounds: int = 3
    """Timed rounds for each defense, after one that is not counted."""
    counts: tuple[int, ...] = (10, 50, 100)
    """Clients whose updates are aggregated."""
    aggregation_seconds: float = 60.0
    """A defense that needs longer for one aggregation is left out."""
    aggregations: int = 5
    """Timed aggregations for each defense and count, after one that is not counted."""
    scaling_images: int = 1024
    """Trained by each process in each timing of several processes."""
    scaling_repetitions: int = 7
    dataset: str = "cifar10"
    """Whose number of classes and image shape the made-up images have."""


_GPU = Scale(
    batch_sizes=(64, 16, 256, 1024),
    images=8 * 1280,
    step_clients=8,
    repetitions=5,
    aggregation_seconds=20,
    scaling_images=8 * 2560,
)
_SLOW = Scale(
    batch_sizes=(64, 16),
    images=128,
    repetitions=5,
    client_images=16,
    epochs=1,
    test_images=50,
    server_images=40,
    rounds=1,
    aggregation_seconds=30,
    aggregations=3,
    scaling_images=64,
    scaling_repetitions=3,
)
"""ResNet-18 on a CPU core trains some twenty images a second: everything is kept small. Others in proportion."""


def choose(device: str, model: str, quick: bool, images: int | None = None, dataset: str = "cifar10") -> Scale:
    """The amounts for ``model`` on ``device`` and images like those of ``dataset``.

    ``images``: in a client's hands, all other amounts in proportion. Raises UserError for a model or a data set that is
    not known, and for images that the model cannot take.
    """
    known = info(dataset)
    flops = training_flops(choose_component("model", model), len(known.classes), known.image_shape)
    scale = replace(_amounts(device, flops, quick), dataset=dataset)
    return scale if images is None else _shrunk(scale, images)


def _amounts(device: str, flops: float, quick: bool) -> Scale:
    if device.startswith("cuda"):
        scale = _GPU
        if quick:
            scale = replace(scale, batch_sizes=(64,), images=8 * 256, repetitions=3, rounds=2, aggregations=3)
            scale = replace(scale, test_images=2_000, server_images=1_000, aggregation_seconds=2)
            scale = replace(scale, scaling_images=8 * 640, scaling_repetitions=3)
    elif flops > SMALL_FLOPS:
        scale = _SLOW
        if quick:
            scale = replace(scale, batch_sizes=(16,), images=16, repetitions=3, clients=4, client_images=2)
            scale = replace(scale, test_images=10, server_images=10, counts=(10,), aggregation_seconds=2)
            scale = replace(scale, aggregations=1, scaling_images=16, scaling_repetitions=3)
        scale = _shrunk(scale, max(1, round(scale.client_images * RESNET18_FLOPS / flops)))
    else:
        scale = Scale()
        if quick:
            scale = replace(scale, batch_sizes=(64, 16), images=256, repetitions=5, client_images=50, test_images=500)
            scale = replace(scale, server_images=100, rounds=1, aggregation_seconds=2, aggregations=1)
            scale = replace(scale, scaling_images=256, scaling_repetitions=3)
    return scale


def _shrunk(scale: Scale, images: int) -> Scale:
    share = images / scale.client_images

    def part(amount: int, least: int) -> int:
        return max(least, round(amount * share))

    return replace(
        scale,
        images=part(scale.images, 2),
        client_images=images,
        test_images=part(scale.test_images, 10),
        server_images=part(scale.server_images, 10),
        scaling_images=part(scale.scaling_images, 2),
    )
