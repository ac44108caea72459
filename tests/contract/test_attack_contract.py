"""What every registered attack must do, whoever wrote it."""

import pytest
import torch
from makers.crafting import crafting, params
from makers.images import noise

from clipfed_bench.api import AttackContext, LocalContext
from clipfed_bench.components import registry

TARGET = 3
VARIANTS = {
    "frequency": [{"variant": "amplitude"}],
    "blend": [{"per_seed": True}],
    "afa": [{"layers": "all"}],
    "layer": [{"trigger": "dba", "check": "krum"}],
    "model-replacement": [{"alpha": 0.5, "bound": 1.0}],
    "alie": [{"z": -0.3}],
    "defense-aware": [{"defense": "norm-clip"}, {"defense": "median"}],
    "threedfed": [{"scaled": False}],
    "min-max": [{"bound": "sum"}, {"perturbation": "unit"}, {"perturbation": "sign"}],
}
CASES = [(name, options) for name in registry.attacks() for options in [{}, *VARIANTS.get(name, [])]]


def make(name, options, ratio=1.0):
    context = AttackContext(target=TARGET, num_classes=10, image_shape=(3, 32, 32), poison_ratio=ratio, seed=7)
    return registry.create_attack(registry.choose("attack", name, **options), context)


def triggers(attack):
    """The test-time trigger and those of five attackers; none of an untargeted attack."""
    if attack.untargeted:
        return []
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
    images = noise(6, 3, 32, 32)
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
    images = noise(6, 3, 32, 32)
    for trigger in triggers(make(name, options)):
        assert (trigger(images) != images).flatten(1).any(1).all()


def test_arguments_are_left_alone(name, options):
    for ratio in (0.5, 1.0):
        attack = make(name, options, ratio)
        images, labels = noise(5, 3, 32, 32), torch.arange(5)
        for trigger in triggers(attack):
            trigger(images)
        attack.poison(images, labels, 2)
        assert torch.equal(images, noise(5, 3, 32, 32))
        assert torch.equal(labels, torch.arange(5))
        attack.trigger(images).zero_()
        assert torch.equal(images, noise(5, 3, 32, 32)), "the result shares memory with the argument"


def test_is_deterministic(name, options):
    first, second = make(name, options), make(name, options)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for one, two in zip(triggers(first), triggers(second), strict=True):
        out = one(noise(4, 3, 32, 32))
        assert torch.equal(out, one(noise(4, 3, 32, 32)))
        assert torch.equal(out, two(noise(4, 3, 32, 32)))
    assert torch.equal(torch.get_rng_state(), state), "global random state was used"


def test_a_batch_is_its_images(name, options):
    images = noise(5, 3, 32, 32)
    for trigger in triggers(make(name, options)):
        one_by_one = torch.cat([trigger(images[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(trigger(images), one_by_one, rtol=0, atol=2e-6)


def test_memory_format_and_gradients_do_not_matter(name, options):
    images = noise(4, 3, 32, 32)
    attack = make(name, options)
    expected = attack.trigger(images)
    torch.testing.assert_close(
        attack.trigger(images.to(memory_format=torch.channels_last)), expected, rtol=0, atol=2e-6
    )
    with torch.inference_mode():
        assert torch.equal(attack.trigger(images), expected)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_poisoned_batches(name, options, ratio):
    images, labels = noise(7, 3, 32, 32), torch.tensor([3, 1, 2, 4, 5, 6, 0])
    attack = make(name, options, ratio)
    for attacker in range(4):
        out, out_labels = attack.poison(images, labels, attacker)
        assert out_labels.dtype == torch.int64
        if attack.untargeted:
            assert torch.equal(out, images)
            assert torch.equal(out_labels, labels) == (name != "label-flip" or ratio < 1 / 7)
            continue
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
    updates, context = params(0, count=2), crafting()
    before = updates.clone()
    attack = make(name, options)
    out = attack.craft(updates, context)
    assert torch.equal(updates, before)
    assert out.shape == updates.shape
    assert out.dtype == torch.float32
    buffers = attack.craft_buffers(context)
    assert buffers.shape == (2, 3)
    assert torch.equal(context.buffers, torch.ones(2, 3))
    if name in {"badnets", "blend", "dba", "edge-case", "frequency", "label-flip", "none"}:
        assert torch.equal(out, updates)
        assert torch.equal(buffers, context.buffers)


@pytest.mark.parametrize("previous", [None, torch.linspace(-1, 1, 20)])
def test_gradient_rules(name, options, previous):
    """A rule gives a new gradient of the same shape, the same one each time."""
    context = LocalContext(2, torch.zeros(20), previous)
    rule = make(name, options).gradient_rule(context)
    if rule is None:
        return
    grad, params = noise(1, 3, 32, 32).flatten()[:20], noise(1, 3, 32, 32, seed=1).flatten()[:20]
    before = grad.clone(), params.clone()
    out = rule(grad, params)
    assert out.shape == grad.shape
    assert out.dtype == torch.float32
    assert torch.equal(out, rule(grad, params))
    assert torch.equal(grad, before[0])
    assert torch.equal(params, before[1])
    assert torch.isfinite(rule(grad, torch.zeros(20))).all()


def test_any_device(name, options):
    """Every tensor made inside must follow the images' device: the meta device refuses to mix with the CPU."""
    images = torch.empty(3, 3, 32, 32, device="meta")
    for trigger in triggers(make(name, options)):
        assert trigger(images).device.type == "meta"


def test_parameter_rules(name, options):
    """A rule gives new parameters of the same shape, the same ones each time; the global model is one to keep."""
    start = noise(1, 3, 32, 32).flatten()[:20]
    rule = make(name, options).parameter_rule(LocalContext(2, start, None))
    if rule is None:
        return
    params = start + 100 * noise(1, 3, 32, 32, seed=1).flatten()[:20]
    before = params.clone()
    out = rule(params)
    assert out.shape == params.shape
    assert out.dtype == torch.float32
    assert torch.equal(out, rule(params))
    assert torch.equal(params, before)
    assert torch.equal(rule(start), start)


def test_a_state_is_what_another_instance_goes_on_from(name, options):
    """Before the first round: an adaptive attack has a trigger already, others have no state."""
    one, other = make(name, options), make(name, options)
    state = one.state()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert bool(state) == one.adaptive
    other.load_state({key: 0.9 * value for key, value in state.items()})
    images = noise(2, 3, 32, 32)
    assert torch.equal(other.trigger(images), one.trigger(images)) != one.adaptive
    other.load_state(state)
    assert torch.equal(other.trigger(images), one.trigger(images))
