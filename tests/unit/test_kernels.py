"""The small CNN's compiled kernels: torch's function to rounding, torch's NaN, and the same bits whoever asks."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from makers.specs import environment, small_cell
from miniature import numbers
from torch import nn

from clipfed_bench.core.errors import UserError
from clipfed_bench.models import fused
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import TestSets, evaluate
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper, Task, batches
from clipfed_bench.simulator.manner import warmup_file
from clipfed_bench.simulator.prefix import run_prefix
from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.images import Images, Normalizer

compiled = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is optional: pip install 'clipfed-bench[fast]'"
)


def model_and_twin(seed=0):
    """One with compiled kernels and one with torch's operators; normalization with weights that are not all one."""
    model = build_model("cnn", 10, seed, "numba")
    stream = torch.Generator().manual_seed(seed)
    for layer in model.convolutions:
        if isinstance(layer, nn.GroupNorm):
            nn.init.normal_(layer.weight, 0.8, 0.4, generator=stream)
            nn.init.normal_(layer.bias, 0, 0.3, generator=stream)
    twin = copy.deepcopy(model)
    twin.kernels = "torch"
    return model, twin


def drawn(count, seed=0):
    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return images.contiguous(memory_format=torch.channels_last), torch.arange(count) % 10


def gradients(model, images, labels):
    model.zero_grad()
    F.cross_entropy(model.classifier(model.features(images)), labels).backward()
    return [p.grad for p in model.parameters()]


def apart(found, exact):
    return float((found.detach() - exact.detach()).norm() / exact.detach().norm())


def digest(model=None):
    """Of features and gradients, to the bit."""
    model = model or model_and_twin()[0]
    images, labels = drawn(7)
    values = [model.features(images), *gradients(model, images, labels)]
    return hashlib.sha256(b"".join(v.detach().contiguous().numpy().tobytes() for v in values)).hexdigest()


@compiled
@pytest.mark.parametrize("count", [1, 16, 33])
def test_features_and_gradients_are_those_of_float64(count):
    model, twin = model_and_twin(count)
    exact = copy.deepcopy(twin).double()
    images, labels = drawn(count)
    assert apart(model.features(images), exact.features(images.double())) < 1e-6
    found, right = gradients(model, images, labels), gradients(exact, images.double(), labels)
    assert max(apart(g, r) for g, r in zip(found, right, strict=True)) < 2e-6
    assert max(apart(g, t) for g, t in zip(found, gradients(twin, images, labels), strict=True)) < 1e-5


@compiled
def test_an_image_has_the_same_bits_in_every_batch_trained_or_not():
    model, _ = model_and_twin()
    images, _ = drawn(9)
    together = fused.features(images, model.convolutions)
    with torch.no_grad():
        assert torch.equal(together, torch.cat([fused.features(part, model.convolutions) for part in images.split(4)]))
    model.to(memory_format=torch.contiguous_format)
    assert torch.equal(together, fused.features(images.contiguous(), model.convolutions))


@compiled
def test_of_equal_values_pooling_takes_the_one_that_torch_takes():
    model, twin = model_and_twin()
    images, labels = drawn(8)
    for each in (model, twin):
        each.convolutions[0].weight.data[2] = 0
        each.convolutions[0].weight.data[2, 0, 1, 1] = 1  # whole numbers come out as they are, and many are equal
    images = images.round()
    pairs = list(zip(gradients(model, images, labels), gradients(twin, images, labels), strict=True))
    assert max(apart(found, right) for found, right in pairs) < 1e-5
    assert apart(pairs[0][0][2], pairs[0][1][2]) < 1e-5  # pixels beside the one that is taken count, too


def spoilt(model, how):
    images, _ = drawn(4)
    with torch.no_grad():
        first = model.convolutions[0].weight
        if how in ("nan", "inf"):
            images[1, 2, 5, 31] = float(how)
        elif how == "nan weight":
            first[3, 0, 1, 1] = torch.nan
        elif how == "infinite weight":
            model.convolutions[4].weight[0, 0, 0, 0] = torch.inf
        else:
            first *= float(how)
    return images


@compiled
@pytest.mark.parametrize("how", ["nan", "inf", "nan weight", "infinite weight", "1e10", "1e20", "1e30", "1e38", "0"])
def test_nan_and_infinity_are_where_torch_has_them(how):
    model, twin = model_and_twin()
    images, labels = spoilt(model, how), torch.arange(4)
    spoilt(twin, how)
    assert torch.equal(model(images).isfinite(), twin(images).isfinite())
    assert torch.equal(model(images).isfinite().all(dim=1).logical_not(), model(images).isnan().any(dim=1))
    for found, right in zip(gradients(model, images, labels), gradients(twin, images, labels), strict=True):
        assert torch.equal(found.isfinite(), right.isfinite())
        assert found.isfinite().all() == (how in ("1e10", "0"))


@compiled
def test_an_update_that_overflows_is_found():
    images = Images(torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8), torch.arange(40) % 10)
    hyper = Hyper(2, 8, 1e25, 0.9, 0.0)
    found = []
    for kernels in ("torch", "numba"):
        model = build_model("cnn", 10, 0, kernels)
        flat, delta = FlatModel(model), torch.empty(1, sum(p.numel() for p in model.parameters()))
        executor = Executor(model, Normalizer((0.5,) * 3, (0.25,) * 3), hyper, Compute(kernels=kernels))
        executor.train([Task(images, batches(40, hyper, 0, 1, 0))], flat.params, flat.buffers, delta, torch.empty(1, 0))
        found.append(bool(delta.isfinite().all()))
    assert found == [False, False]


@compiled
def test_threads_and_processes_have_the_same_bits():
    expected = digest()
    models = [model_and_twin()[0] for _ in range(6)]  # made here: a seed is the whole process's
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(digest, models)) == {expected}
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(digest) == expected


@compiled
def test_processors_with_small_registers_have_the_same_bits(monkeypatch, tmp_path):
    import llvmlite.binding
    import numba

    from clipfed_bench.models import trunk

    expected = digest()
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: {"avx512f": not trunk.WIDE})
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))  # which tells processors apart by what they are
    described = importlib.util.spec_from_file_location("clipfed_bench.models.other", trunk.__file__)
    other = importlib.util.module_from_spec(described)
    described.loader.exec_module(other)
    assert other.WIDE is not trunk.WIDE
    monkeypatch.setattr(fused, "_kernels", lambda: other)
    assert digest() == expected


@compiled
@pytest.mark.parametrize("fault", ["a file in its place", "damaged"])
def test_a_cache_of_no_use_costs_time_alone(fault, monkeypatch, tmp_path):
    import numba

    from clipfed_bench.models import trunk

    place = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(place))

    def double(x):
        x *= 2

    if fault == "damaged":
        trunk._compiled(numba.float32[::1])(double)
        kept = [path for path in place.rglob("*") if path.suffix in (".nbi", ".nbc")]
        assert kept
        for path in kept:
            path.write_bytes(b"no cache")
    else:
        place.write_text("")
    values = torch.ones(3)
    trunk._compiled(numba.float32[::1])(double)(values.numpy())
    assert values.tolist() == [2, 2, 2]
    assert str(place) == numba.config.CACHE_DIR


@compiled
def test_evaluations_agree():
    model, twin = model_and_twin()
    images, labels = drawn(150)
    sets = TestSets(images, twin(images).argmax(dim=1), images[:20], 3)
    assert evaluate(model, sets) == evaluate(twin, sets)
    assert evaluate(model, sets)["mta"] == 1
    assert len(labels) == 150


def test_what_no_kernel_is_for_is_torchs():
    model, twin = model_and_twin()
    images, _ = drawn(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(images), twin(images))
    asked = [images.clone().requires_grad_() for _ in range(2)]
    for each, given in zip((model, twin), asked, strict=True):
        each(given).square().sum().backward()
    assert torch.equal(asked[0].grad, asked[1].grad)
    assert torch.equal(model.double().features(images.double()), twin.double().features(images.double()))


def test_numba_that_cannot_be_imported_is_a_users_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    for name in ("trunk", "vectors"):
        monkeypatch.delitem(__import__("sys").modules, f"clipfed_bench.models.{name}", raising=False)
    monkeypatch.delattr("clipfed_bench.models.trunk", raising=False)
    fused._kernels.cache_clear()
    with pytest.raises(UserError, match=r"^--kernels: numba cannot be imported here .*clipfed-bench\[fast\]"):
        build_model("cnn", 10, 0, "numba")(drawn(1)[0])


@compiled
def test_cells_say_it_and_do_not_go_on_from_each_other(tmp_path):
    plain = environment(tmp_path, "cache", "warmup", "checkpoint", "prefix")
    fast = replace(plain, kernels="numba")
    cell = small_cell(clients=6, clients_per_round=3, warmup_rounds=2, rounds=3, attack_start=3, malicious=0.34)
    run_prefix(cell, fast)  # which leaves a warm-up and a prefix
    alone = replace(plain, warmup_dir=tmp_path / "own", prefix_dir=None)
    slow = run_cell(cell, plain)
    assert numbers(slow) == numbers(run_cell(cell, alone))
    names = sorted(path.name for path in plain.warmup_dir.glob("*.safetensors"))
    assert names == [f"{cell.warmup_key}-numba.safetensors", f"{cell.warmup_key}.safetensors"]
    assert warmup_file(cell, plain).name == names[1]
    found = run_cell(cell, fast)
    assert numbers(found) == numbers(run_cell(cell, replace(fast, warmup_dir=tmp_path / "third", prefix_dir=None)))
    assert slow.provenance["kernels"] == "torch"
    assert found.provenance["kernels"].startswith("numba ")
