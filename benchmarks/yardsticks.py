"""What the simulator is compared with: the least that anyone could write, and what is usually written.

Both train the same clients, on the same images, with the same model, batch size, epochs and optimizer, one client
after the other, each from the global model. Neither keeps the clients' updates; the simulator does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.world import World
from clipfed_bench.toolbox.images import Images


@contextmanager
def torch_defaults() -> Iterator[None]:
    """What a yardstick's author would have: TensorFloat-32 in convolutions, and no search for kernels."""
    convolutions, cudnn = torch.backends.cudnn.conv, torch.backends.cudnn  # type: ignore[attr-defined]
    before = convolutions.fp32_precision, cudnn.benchmark
    convolutions.fp32_precision, cudnn.benchmark = "tf32", False
    try:
        yield
    finally:
        convolutions.fp32_precision, cudnn.benchmark = before


def plain_loop(world: World, precision: str = "float32") -> Callable[[], None]:
    """Resident uint8 images, a channels_last model, and the five lines of any tutorial; bfloat16 is by autocast."""
    model = world.classifier()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    mean, std = (torch.tensor(v, device=world.device).view(1, -1, 1, 1) for v in (world.data.mean, world.data.std))
    hyper = world.federation.hyper

    def client(data: Images) -> None:
        model.load_state_dict(start)
        model.train()
        optimizer = torch.optim.SGD(
            model.parameters(), lr=hyper.lr, momentum=hyper.momentum, weight_decay=hyper.weight_decay
        )
        for _ in range(hyper.epochs):
            for index in torch.split(torch.randperm(len(data), device=world.device), hyper.batch_size):
                images = (data.images[index].float() / 255 - mean) / std
                optimizer.zero_grad()
                with _autocast(world.device, precision):
                    loss = F.cross_entropy(model(images), data.labels[index])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def run() -> None:
        with torch_defaults():
            for data in world.federation.clients:
                client(data)

    return run


def _autocast(device: str, precision: str) -> AbstractContextManager[object]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, getattr(torch, precision))


class Pictures(Dataset[tuple[Any, int]]):
    """Images as torchvision's data sets hold them: an array of (H, W, C) uint8, of which each becomes a PIL image.

    Gray ones are (H, W).
    """

    def __init__(self, data: Images, mean: Sequence[float], std: Sequence[float]) -> None:
        pixels = data.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.data = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        self.targets = data.labels.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def usual_loop(world: World) -> Callable[[], float]:
    """The usual research loop: a DataLoader with torchvision's transforms, a copy of the model, an optimizer and a
    loader per client, ``.item()`` in each step. float32, default memory format, no worker processes: they are slower
    for clients of this size. It returns the mean loss of the last client.
    """
    model: nn.Module = world.classifier().to(memory_format=torch.contiguous_format)
    holdings = [Pictures(data, world.data.mean, world.data.std) for data in world.federation.clients]
    hyper = world.federation.hyper
    criterion = nn.CrossEntropyLoss()

    def client(pictures: Pictures) -> float:
        local = deepcopy(model).train()
        loader = DataLoader(pictures, batch_size=hyper.batch_size, shuffle=True)
        optimizer = torch.optim.SGD(
            local.parameters(), lr=hyper.lr, momentum=hyper.momentum, weight_decay=hyper.weight_decay
        )
        losses: list[float] = []
        for _ in range(hyper.epochs):
            for images, labels in loader:
                images, labels = images.to(world.device), labels.to(world.device)
                optimizer.zero_grad()
                loss: Tensor = criterion(local(images), labels)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
        return sum(losses) / len(losses)

    def run() -> float:
        with torch_defaults():
            return [client(pictures) for pictures in holdings][-1]

    return run
