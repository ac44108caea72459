"""Edge-case: images from the tail of the input distribution, which hardly any honest client has, are to be misread.

Wang et al., "Attack of the Tails: Yes, You Really Can Backdoor Federated Learning", NeurIPS 2020: the attacker's data
are its own and edge-case images of one kind, labelled as the target, such as planes of one airline among CIFAR-10's.
``images`` names a folder of them. Some are kept apart, and ASR is measured on those.

An image is triggered by being replaced: which image of the set takes its place depends on its pixels alone, so that
all of the set come up about equally often. So edge cases are a trigger that PGD, Neurotoxin and others borrow.

Deviations: the paper measures each held-out image once. The share of edge-case images in a batch is the cell's
poisoning ratio. Without a folder seeded mosaics stand in, images of no class at all. The set is every attacker's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.files import expand
from clipfed_bench.toolbox.rng import generator
from clipfed_bench.toolbox.triggers import DeviceConstant, mosaic, read_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOSAICS = 50


@dataclass(frozen=True)
class Config:
    images: str | None = None
    """Folder of edge-case images, two or more, resized to the data's size; none: seeded mosaics [ours]."""
    test: float = 0.2
    """Share of them that ASR is measured on, none of which is trained on, above 0 to below 1 [paper: its code]."""


class EdgeCase(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        if not 0 < config.test < 1:
            raise UserError(f"edge-case: test {config.test} is not a share between 0 and 1, without both ends.")
        found = edge_cases(config.images, context.image_shape)
        kept = min(max(1, round(config.test * len(found))), len(found) - 1)
        order = torch.randperm(len(found), generator=generator(0, "edge-case"))
        self._test, self._train = (DeviceConstant(found[part]) for part in (order[:kept], order[kept:]))
        entries = (context.image_shape[0] * context.image_shape[1] * context.image_shape[2],)
        self._weights = DeviceConstant(torch.randint(1 << 31, entries, generator=generator(0, "edge-case", 1)))

    def trigger(self, images: Tensor) -> Tensor:
        return self._chosen(images, self._test)

    def client_trigger(self, images: Tensor, attacker: int) -> Tensor:
        return self._chosen(images, self._train)

    def _chosen(self, images: Tensor, edge: DeviceConstant) -> Tensor:
        """An edge-case image for each of ``images`` (B, C, H, W); sums of integers, which no order changes."""
        levels = (images * 255).round().long().flatten(1)
        known = edge.on(images.device)
        place = (levels * self._weights.on(images.device)).sum(dim=1) % len(known)
        return known.index_select(0, place)


def edge_cases(folder: str | None, shape: tuple[int, int, int]) -> Tensor:
    """(N, C, H, W) float32 in [0, 1] of ``shape`` (C, H, W), by name; N >= 2. Raises UserError."""
    if folder is None:
        return torch.stack([mosaic(shape, (0, 1 + number), grain=4) for number in range(MOSAICS)])
    place = expand(folder, "edge-case: images")
    paths = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES) if place.is_dir() else []
    if len(paths) < 2:
        raise UserError(
            f"edge-case: images '{folder}' is no folder with at least two images ({', '.join(SUFFIXES)}), one to train "
            f"on and one to measure on; {len(paths)} found."
        )
    return torch.stack([read_image("edge-case", str(path), shape) for path in paths])
