"""Images of noise, and server data made of images."""

from __future__ import annotations

import torch
from torch import Tensor

from clipfed_bench.toolbox.images import Images, ServerData


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Values in [0, 1) as an attack takes them: float32 of ``shape``."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_images(count: int, seed: int = 0, labels: Tensor | None = None, device: str | None = None) -> Images:
    """Pixels (count, 3, 32, 32) uint8 and, unless given, random labels of ten classes; on ``device`` as data lie there:
    channels last."""
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=stream, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,), generator=stream) if labels is None else labels
    if device is None:
        return Images(pixels, labels)
    return Images(pixels.contiguous(memory_format=torch.channels_last).to(device), labels.to(device))


def server_data(images: Images) -> ServerData:
    """``images`` with empty captions."""
    return ServerData(images, ("",) * len(images), "made for tests", "0")
