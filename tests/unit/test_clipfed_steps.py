"""The steps of CLIP-Fed on small examples: filtering, bands, augmentation, and what each training step may touch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tape import TapeRecorder

from clipfed_bench.clipfed.filtering import filter_updates, pca_scores
from clipfed_bench.clipfed.frequency_noise import augment, band_mse, band_of, perturb_band
from clipfed_bench.clipfed.rectify_transfer import rectification, transfer
from clipfed_bench.clipfed.server_set import ServerSet
from clipfed_bench.clipfed.steps import Schedule
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.dct import dct2, idct2


def _stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pca_scores_match_scikit_learn() -> None:
    deltas = torch.randn(8, 40, generator=_stream())
    expected = PCA(n_components=3).fit_transform(deltas.double().numpy())
    got = pca_scores(deltas, 3).numpy()
    np.testing.assert_allclose(np.abs(got), np.abs(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_filter_rejects_outliers(metric: str) -> None:
    benign = torch.randn(8, 200, generator=_stream()) * 0.1 + torch.ones(200)
    updates = torch.cat([benign, -benign[:2]])
    kept = filter_updates(updates, 2, metric)
    assert not kept[8:].any()
    assert kept[:8].sum() >= 6  # a majority cluster, not necessarily every benign client


def test_filter_edge_cases() -> None:
    assert filter_updates(torch.ones(1, 5), 2, "euclidean").tolist() == [True]
    assert filter_updates(torch.ones(6, 5), 2, "euclidean").all()
    order = torch.randperm(9, generator=_stream())
    updates = torch.randn(9, 30, generator=_stream(1))
    assert torch.equal(filter_updates(updates, 2, "euclidean")[order], filter_updates(updates[order], 2, "euclidean"))


def test_bands_by_hand() -> None:
    # 32×32: position (u + v) / 62; K = 6 cuts at 1/32, 1/16, 1/8, 1/4, 1/2, 1 of the diagonal.
    band = band_of(32, 32, 6)
    assert [int(band[0, v]) for v in (0, 1, 2, 3, 4, 7, 8, 15, 16, 31)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert int(band[31, 1]) == 5
    assert int(band[31, 31]) == 5
    assert torch.equal(band, band.T)
    paper = band_of(32, 32, 12)  # PAPER: degenerate at 32×32, band 7 is one anti-diagonal
    seventh = (paper == 6).nonzero().tolist()
    assert seventh == [[0, 1], [1, 0]]


def test_sensitive_band_is_where_the_trigger_is() -> None:
    images = torch.full((3, 3, 32, 32), 0.5)
    spectrum = torch.zeros(32, 32)
    spectrum[5, 6] = 1.0  # (5 + 6) / 62 lies in band 3 of 6
    wave = idct2(spectrum)
    mse = band_mse(images, lambda x: x + 0.1 * wave, 6)
    assert int(mse.argmax()) == 3
    count = int((band_of(32, 32, 6) == 3).sum())
    assert float(mse[3]) == pytest.approx(0.01 / count, rel=1e-4)
    assert float(mse[[0, 1, 2, 4, 5]].abs().max()) < 1e-10


def test_noise_stays_in_its_band_and_has_its_strength() -> None:
    images = torch.full((200, 3, 32, 32), 0.5)
    changed = perturb_band(images, 4, 6, 0.05, _stream())
    change = dct2(changed) - dct2(images)
    inside = band_of(32, 32, 6) == 4
    assert float(change[..., ~inside].abs().max()) < 1e-5
    assert float(change[..., inside].std()) == pytest.approx(0.05, rel=0.02)


def test_augment_scales_noise_to_the_trigger() -> None:
    images = torch.full((20, 3, 32, 32), 0.5)

    def square(x: torch.Tensor) -> torch.Tensor:
        out = x.clone()
        out[..., 27:, 27:] = 1.0
        return out

    changed, band, sigma = augment(images, square, 6, 1.0, _stream())
    mse = band_mse(images, square, 6)
    assert band == int(mse.argmax())
    assert sigma == pytest.approx(float(mse[band]) ** 0.5)
    assert torch.equal(augment(images, square, 6, 0.0, _stream())[0].round(decimals=4), images)
    assert changed.shape == images.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


@pytest.fixture
def task() -> tuple[FlatModel, ServerSet]:
    flat = FlatModel(build_model("cnn", 10, 0))
    labels = torch.arange(10).repeat(6)
    images = torch.randn(60, 3, 32, 32, generator=_stream()) * 0.1
    for i, c in enumerate(labels.tolist()):
        images[i, :, 3 * c : 3 * c + 3] += 2.0  # a stripe whose place tells the class
    prototypes = torch.nn.functional.normalize(torch.randn(10, 16, generator=_stream(1)), dim=1)
    data = ServerSet(images, labels, 20 * torch.eye(10)[labels], prototypes, prototypes.roll(1, 1), -1, 0.0)
    return flat, data


def test_rectification_trains_the_extractor_alone(task: tuple[FlatModel, ServerSet]) -> None:
    flat, data = task
    projection = torch.nn.Linear(128, 16, bias=False)
    before, projected = flat.params.clone(), projection.weight.detach().clone()
    rectification(flat.model, projection, data, 0.1, Schedule(1, 16, 0.01, 0.9, 0.0), Compute())(_stream())
    changed = {name: not torch.equal(flat.params[s], before[s]) for name, s in flat.layers.items()}
    assert not changed["classifier.weight"]
    assert not changed["classifier.bias"]
    assert all(moved for name, moved in changed.items() if not name.startswith("classifier."))
    assert not torch.equal(projection.weight, projected)
    assert float(flat.grad.abs().max()) == 0  # the next client starts from zero gradients


def test_rectification_pulls_features_to_their_prototypes(task: tuple[FlatModel, ServerSet]) -> None:
    flat, data = task
    projection = torch.nn.Linear(128, 16, bias=False)

    def closeness() -> float:
        with torch.no_grad():
            vector = torch.nn.functional.normalize(projection(flat.model.features(data.images)), dim=1)
            own = (vector * data.image_prototypes[data.labels]).sum(dim=1)
            return float((own - (vector @ data.image_prototypes.T).mean(dim=1)).mean())

    before = closeness()
    rectification(flat.model, projection, data, 0.1, Schedule(10, 16, 0.01, 0.9, 0.0), Compute())(_stream())
    assert closeness() > before + 0.2


def test_transfer_learns_what_the_teacher_says(task: tuple[FlatModel, ServerSet]) -> None:
    flat, data = task
    shifted = replace(data, teacher_logits=data.teacher_logits.roll(1, 1))  # a teacher that contradicts the labels
    transfer(flat.model, shifted, 5.0, 1.0, Schedule(40, 16, 0.004, 0.9, 0.0), Compute())(_stream())
    with torch.no_grad():
        taken = flat.model(data.images).argmax(dim=1)
    assert (taken == (data.labels + 1) % 10).float().mean() > 0.9


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_clipping_bounds_a_step(task: tuple[FlatModel, ServerSet], clip: float) -> None:
    flat, data = task
    before = flat.params.clone()
    transfer(flat.model, data, 1.0, 1.0, Schedule(1, 60, 0.5, 0.0, clip), Compute())(_stream())  # one batch, one step
    step = float((flat.params - before).norm()) / 0.5
    assert step == pytest.approx(clip, rel=1e-3) if clip else step > 0.1


def test_recorded_steps_train_the_server_as_plain_ones_do(task: tuple[FlatModel, ServerSet]) -> None:
    plain, data = task
    schedule, results = Schedule(2, 16, 0.01, 0.9, 1.0), []
    recorder = TapeRecorder()
    for compute in (Compute(), Compute(graphs=True, record=recorder)):
        flat = FlatModel(build_model("cnn", 10, 0))
        projection = torch.nn.Linear(128, 16, bias=False)
        torch.nn.init.ones_(projection.weight)
        steps = [
            rectification(flat.model, projection, data, 0.1, schedule, compute),
            transfer(flat.model, data, 1.0, 3.0, schedule, compute),
        ]
        for round_ in range(3):  # prototypes, momentum and the order of the images are new in each
            for step in steps:
                step(_stream(round_))
        results.append((flat.params, projection.weight.detach()))
    assert recorder.recorded == 2 * 2  # batches of 16 and 12, in each phase
    assert recorder.replayed == 3 * 2 * 2 * 4
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(results[0][0], plain.params)
