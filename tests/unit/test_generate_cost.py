"""What a generated data set costs, by hand; and the defaults that suit a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipfed_bench.generate import cost
from clipfed_bench.generate.models import DEFAULT_MODEL
from clipfed_bench.generate.settings import Settings


def settings(**changed: object) -> Settings:
    return Settings(**{"classes": ("bird", "cat"), "per_class": 50, **changed})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "cores", lambda: 2)


def test_seconds_are_images_times_work_over_rate() -> None:
    turbo, usual = settings(model=DEFAULT_MODEL["cpu"]), settings(model=DEFAULT_MODEL["cuda"])
    assert cost.seconds(turbo, "cpu") == pytest.approx(100 * (2 * 0.80e12 + 2.51e12) / 80e9)
    assert cost.seconds(usual, "cuda") == pytest.approx(100 * (30 * 2 * 0.80e12 + 2.51e12) / 50e12)  # two passes a step
    again = settings(model=DEFAULT_MODEL["cuda"], steps=10, guidance=1.0, size=256)
    assert cost.seconds(again, "cuda") == pytest.approx(100 / 4 * (10 * 0.80e12 + 2.51e12) / 50e12)


def test_bytes_are_those_of_the_precision(tmp_path: Path) -> None:
    turbo = settings(model="StabilityAI/sd-turbo")
    assert cost.download(turbo, "cpu") == 4 * 1.29e9
    assert cost.download(turbo, "cuda") == 2 * 1.29e9
    assert cost.download(settings(model="black-forest-labs/FLUX.2-klein-4B"), "cpu") == 2 * 8.0e9
    assert cost.download(settings(model=str(tmp_path)), "cpu") == 0


def test_what_is_not_known_is_said() -> None:
    assert cost.told(settings(model="a/b"), "cpu") == (
        "100 images by a/b on the CPU; a download of unknown size; how long it takes is not known"
    )
    assert cost.told(settings(model=DEFAULT_MODEL["cpu"]), "cpu") == (
        "100 images by stabilityai/sd-turbo on the CPU; 5.2 GB to download; about 86 minutes to draw, a rough guess"
    )


def test_a_machine_is_offered_what_suits_it() -> None:
    for device, images, model in (("cpu", "1,000", "sd-turbo"), ("cuda", "3,000", "stable-diffusion-v1-5")):
        command, costs = cost.offer("cifar10-lt", device).splitlines()
        assert command.startswith("clipfed-bench server-data generate --dataset cifar10 --out ")
        assert images in costs
        assert model in costs
