"""The GPU that tests pretend to have is strict where a real one is, and knows when the host waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from fake_gpu import FakeGpu, fake_gpu
from torch import Tensor


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with fake_gpu() as found:
        yield found


def ready(values: list[float]) -> Tensor:
    return torch.tensor(values).pin_memory().to("cuda", non_blocking=True)


def test_tensors_are_on_the_gpu_and_computed_with(gpu: FakeGpu) -> None:
    a = ready([1.0, 2.0])
    b = torch.full((2,), 3.0, device=a.device)
    total = (a * b + 1).sum()
    assert (a.device, total.device, a.is_cuda, a.is_cpu) == (
        torch.device("cuda:0"),
        torch.device("cuda:0"),
        True,
        False,
    )
    a[:1] = 5.0
    assert gpu.waits == []
    assert (float(total), a.tolist()) == (11.0, [5.0, 2.0])
    assert gpu.waits == ["reads a value (a test)", "copies to the host (a test)"]


READS = {
    "float": (lambda a: float(a[0]), "reads a value"),
    "bool": (lambda a: bool((a > 0).any()), "reads a value"),
    "cpu": (lambda a: a.cpu(), "copies to the host"),
    "to": (lambda a: a.to("cpu", non_blocking=True), "copies to the host"),
    "tolist": (lambda a: a.tolist(), "copies to the host"),
    "mask": (lambda a: a[a > 0], "a shape depends on values"),
    "nonzero": (lambda a: a.nonzero(), "a shape depends on values"),
    "list": (lambda a: a[[1, 0]], "copies an index to the device"),
    "set list": (lambda a: a.__setitem__([1, 0], a.clone()), "copies an index to the device"),
    "index": (lambda a: a[torch.tensor([1, 0])], "copies an index to the device"),
    "make": (lambda a: torch.tensor([1.0], device=a.device), "copies to the device, blocking"),
    "blocking": (lambda a: torch.ones(1).pin_memory().to(a.device), "copies to the device, blocking"),
    "not pinned": (
        lambda a: torch.ones(1).to(a.device, non_blocking=True),
        "copies to the device from memory that is not pinned",
    ),
    "copy": (lambda a: a.copy_(torch.ones(2)), "copies to the device, blocking"),
    "eigh": (lambda a: torch.linalg.eigh(torch.outer(a, a)), "asks whether it converged"),
    "all": (lambda a: torch.cuda.synchronize(), "waits for all of it"),
}


@pytest.mark.parametrize("name", READS)
def test_the_host_is_seen_to_wait(gpu: FakeGpu, name: str) -> None:
    a = ready([1.0, 2.0])
    action, why = READS[name]
    action(a)
    assert gpu.waits == [f"{why} (a test)"]


@pytest.mark.parametrize(
    "action",
    [
        lambda a: a + torch.ones(2),
        lambda a: torch.cat([a, torch.ones(2)]),
        lambda a: torch.stack([a[0], torch.tensor(1.0)]),
        lambda a: torch.arange(2)[a.long()],
        lambda a: torch.rand(2, device=a.device, generator=torch.Generator()),
        lambda a: torch.rand(2, generator=torch.Generator("cuda")),
        lambda a: a.normal_(generator=torch.Generator()),
        lambda a: a.numpy(),
    ],
)
def test_what_a_gpu_refuses(gpu: FakeGpu, action: Callable[[Tensor], object]) -> None:
    with pytest.raises((RuntimeError, IndexError, TypeError)):
        action(ready([0.0, 1.0]))


def test_gradients_are_those_of_the_cpu(gpu: FakeGpu) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    images = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    model(images).square().sum().backward()
    expected = [p.grad for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    model.to("cuda")(images.to("cuda")).square().sum().backward()
    found = [p.grad for p in model.parameters()]
    assert all(torch.equal(f.cpu(), e) for f, e in zip(found, expected, strict=True))  # type: ignore[union-attr, arg-type]


def test_draws_have_a_generator_of_the_gpu(gpu: FakeGpu) -> None:
    drawn = torch.randn(3, generator=torch.Generator("cuda").manual_seed(1), device="cuda")
    again = torch.empty(3, device="cuda").normal_(generator=torch.Generator("cuda").manual_seed(1))
    assert gpu.waits == []
    assert drawn.tolist() == again.tolist()


def test_views_share_memory(gpu: FakeGpu) -> None:
    whole = torch.zeros(4, device="cuda")
    part = torch.nn.Parameter(torch.zeros(2, device="cuda"))
    part.data = whole[1:3]
    part.data.add_(1)
    assert whole.tolist() == [0, 1, 1, 0]


def test_autocast_halves_convolutions(gpu: FakeGpu) -> None:
    images, kernel = torch.ones(1, 1, 3, 3, device="cuda"), torch.ones(1, 1, 3, 3, device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
        out = torch.nn.functional.conv2d(images, kernel)
        loss = torch.nn.functional.cross_entropy(out.flatten(1), torch.zeros(1, dtype=torch.int64, device="cuda"))
    assert (out.dtype, loss.dtype) == (torch.bfloat16, torch.float32)


def test_it_is_gone_afterwards() -> None:
    with fake_gpu():
        a = torch.zeros(2, device="cuda")
    with pytest.raises(RuntimeError, match="switched off"):
        a + 1
    with pytest.raises((RuntimeError, AssertionError)):
        torch.zeros(2, device="cuda")
