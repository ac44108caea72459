"""What every registered attack must do, whoever wrote it."""

import pytest
import torch

from clipfed_bench import registry
from clipfed_bench.api import AttackContext, CraftContext

TARGET = 3
VARIANTS = {"frequency": [{"variant": "amplitude"}], "blend": [{"per_seed": True}]}
CASES = [(name, options) for name in registry.attacks() for options in [{}, *VARIANTS.get(name, [])]]


def make(name, options, ratio=1.0):
    context = AttackContext(target=TARGET, num_classes=10, image_shape=(3, 32, 32), poison_ratio=ratio, seed=7)
    return registry.create_attack(name, options, context)


def noise(count, seed=0):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def triggers(attack):
    """The test-time trigger and those of five attackers."""
    return [attack.trigger, *(lambda images, i=i: attack.client_trigger(images, i) for i in range(5))]


pytestmark = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))


def test_is_documented(name, options):
    component = registry.attacks()[name]
    assert component.summary.endswith(".")
    assert all(option.doc and option.origin != "unmarked" for option in component.options), "mark every default"
    attack = make(name, options)
    for option in component.options:
        assert getattr(attack.config, option.name) == options.get(option.name, option.default)


def test_triggered_images_are_images(name, options):
    images = noise(6)
    for trigger in triggers(make(name, options)):
        out = trigger(images)
        assert out.shape == images.shape
        assert out.dtype == torch.float32
        assert out.device == images.device
        assert torch.isfinite(out).all()
        assert out.min() >= 0
        assert out.max() <= 1


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_flat_images_stay_in_range(name, options, value):
    for trigger in triggers(make(name, options)):
        out = trigger(torch.full((2, 3, 32, 32), value))
        assert torch.isfinite(out).all()
        assert out.min() >= 0
        assert out.max() <= 1


def test_every_image_is_changed(name, options):
    images = noise(6)
    for trigger in triggers(make(name, options)):
        assert (trigger(images) != images).flatten(1).any(1).all()


def test_arguments_are_left_alone(name, options):
    for ratio in (0.5, 1.0):
        attack = make(name, options, ratio)
        images, labels = noise(5), torch.arange(5)
        for trigger in triggers(attack):
            trigger(images)
        attack.poison(images, labels, 2)
        assert torch.equal(images, noise(5))
        assert torch.equal(labels, torch.arange(5))
        attack.trigger(images).zero_()
        assert torch.equal(images, noise(5)), "the result shares memory with the argument"


def test_is_deterministic(name, options):
    first, second = make(name, options), make(name, options)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for one, two in zip(triggers(first), triggers(second), strict=True):
        out = one(noise(4))
        assert torch.equal(out, one(noise(4)))
        assert torch.equal(out, two(noise(4)))
    assert torch.equal(torch.get_rng_state(), state), "global random state was used"


def test_a_batch_is_its_images(name, options):
    images = noise(5)
    for trigger in triggers(make(name, options)):
        one_by_one = torch.cat([trigger(images[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(trigger(images), one_by_one, rtol=0, atol=2e-6)


def test_memory_format_and_gradients_do_not_matter(name, options):
    images = noise(4)
    attack = make(name, options)
    expected = attack.trigger(images)
    torch.testing.assert_close(
        attack.trigger(images.to(memory_format=torch.channels_last)), expected, rtol=0, atol=2e-6
    )
    with torch.inference_mode():
        assert torch.equal(attack.trigger(images), expected)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_poisoned_batches(name, options, ratio):
    images, labels = noise(7), torch.tensor([3, 1, 2, 4, 5, 6, 0])
    attack = make(name, options, ratio)
    for attacker in range(4):
        out, out_labels = attack.poison(images, labels, attacker)
        assert out_labels.dtype == torch.int64
        if name == "none":
            assert torch.equal(out, images)
            assert torch.equal(out_labels, labels)
            continue
        count = 7 if ratio == 1.0 else int(7 * ratio)
        clean = slice(0, 7) if ratio == 1.0 else slice(count, 7)
        bad = slice(7, 14) if ratio == 1.0 else slice(0, count)
        assert out.shape == (14 if ratio == 1.0 else 7, 3, 32, 32)
        assert torch.equal(out[clean], images[clean])
        assert torch.equal(out_labels[clean], labels[clean])
        assert (out_labels[bad] == TARGET).all()
        torch.testing.assert_close(out[bad], attack.client_trigger(images[:count], attacker), rtol=0, atol=2e-6)


def test_crafted_updates(name, options):
    updates = torch.randn(2, 20, generator=torch.Generator().manual_seed(0))
    context = CraftContext(round=1, clients=(4, 9), global_params=torch.zeros(20), layers={"w": slice(0, 20)})
    before = updates.clone()
    out = make(name, options).craft(updates, context)
    assert torch.equal(updates, before)
    assert out.shape == updates.shape
    assert out.dtype == torch.float32
    if name in {"badnets", "blend", "dba", "frequency", "none"}:
        assert torch.equal(out, updates)


def test_any_device(name, options):
    """Every tensor made inside must follow the images' device: the meta device refuses to mix with the CPU."""
    images = torch.empty(3, 3, 32, 32, device="meta")
    for trigger in triggers(make(name, options)):
        assert trigger(images).device.type == "meta"
