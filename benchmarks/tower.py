"""Images a second of a pre-trained image tower, next to a plain loop over timm's model, in turn, in CPU seconds.

    OMP_NUM_THREADS=1 python -m benchmarks.tower [--images 256] [--repetitions 5]      # needs the extra [lit]

Both have the same weights and take the same images of 32 pixels, enlarged; the plain loop does it in batches of 64 with
torchvision, the usual size and the usual way.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from clipfed_bench.teacher.features import TensorCache
from clipfed_bench.teacher.lit import tower_features
from clipfed_bench.teacher.tower_weights import FrozenTower, load_tower
from clipfed_bench.teacher.towers import PACKAGED, parse_tower

PLAIN_BATCH = 64


@torch.no_grad()
def plain(tower: FrozenTower, images: Tensor) -> Tensor:
    """The features of ``images`` (N, 3, 32, 32) uint8 by the usual loop."""
    found = []
    for batch in torch.split(images, PLAIN_BATCH):
        inputs = tv.resize(batch, list(tower.preprocess.size), tv.InterpolationMode.BICUBIC, antialias=True)
        found.append(tower.trunk(tv.normalize(inputs / 255, tower.preprocess.mean, tower.preprocess.std)))
    return torch.cat(found)


def ours(tower: FrozenTower, images: Tensor) -> Tensor:
    """The same as a teacher computes them, with nothing stored before."""
    with TemporaryDirectory() as folder:
        return tower_features(tower, images, TensorCache(Path(folder)), lambda done: None)


def seconds(work: Callable[[FrozenTower, Tensor], Tensor], tower: FrozenTower, images: Tensor) -> float:
    begin = time.process_time()
    work(tower, images)
    return time.process_time() - begin


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=5)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    stream = torch.Generator()
    stream.manual_seed(0)
    images = torch.randint(0, 256, (asked.images, 3, 32, 32), generator=stream, dtype=torch.uint8)
    for name in PACKAGED:
        tower = load_tower(parse_tower(name), None)
        ours(tower, images[:PLAIN_BATCH])
        taken: list[tuple[float, float]] = []
        for _ in range(asked.repetitions):
            taken.append((seconds(ours, tower, images), seconds(plain, tower, images)))
        speed = asked.images / median(mine for mine, _ in taken)
        ratio = median(usual / mine for mine, usual in taken)
        print(f"{name} at {tower.preprocess.size[0]}: {speed:.0f} images a second, {ratio:.2f} x the plain loop")


if __name__ == "__main__":
    main()
