"""What every defense has to keep, whatever its method. New files in ``baselines/`` are covered without an edit."""

import numpy as np
import pytest
import torch

from clipfed_bench.api import ClientUpdates, RoundContext, ServerContext, ServerModel
from clipfed_bench.components import registry
from clipfed_bench.toolbox.device import read
from clipfed_bench.toolbox.images import Images, ServerData

PARAMETERS, BUFFERS = 60, 4
COUNTS = [1, 2, 3, 4, 5, 10]


class TinyModel(ServerModel):
    """60 parameters: a 3 → 2 layer without bias, 4 scales, a classifier of 10 classes; for one-pixel images.

    Training is a fixed step, which depends on the data and the round.
    """

    layers = {  # noqa: RUF012
        "hidden.weight": slice(0, 6),
        "scale": slice(6, 10),
        "classifier.weight": slice(10, 50),
        "classifier.bias": slice(50, 60),
    }
    shapes = {"hidden.weight": (2, 3), "scale": (4,), "classifier.weight": (10, 4), "classifier.bias": (10,)}  # noqa: RUF012
    image_shape = (3, 1, 1)

    def train(self, data, params, buffers, context, as_many=None):
        step = torch.linspace(-1, 1, PARAMETERS) + 0.1 * context.round + data.images.double().mean().float() / 255
        return step, buffers + 1

    def predict(self, params, buffers, pixels):
        hidden = (
            torch.cat([pixels.flatten(1) @ params[:6].view(2, 3).T, pixels.flatten(1)[:, :2]], dim=1) * params[6:10]
        )
        return hidden @ params[10:50].view(10, 4).T + params[50:]


def root_images():
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, 3, 1, 1), generator=stream, dtype=torch.uint8)
    return ServerData(Images(images, torch.arange(200) % 10), ("",) * 200, "made for tests", "0")


SERVER = ServerContext(
    num_classes=10,
    classes=tuple("0123456789"),
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    seed=3,
    server_data=root_images,
    model=TinyModel,
)
# A teacher takes a cell to make; defenses that need one have tests of their own.
NAMES = [
    name
    for name, component in registry.defenses().items()
    if component.module.startswith("baselines.") and not component.needs_teacher
]
# FLTrust replaces the size of updates by that of the server's, and may trust nobody.
OF_THE_CLIENTS = [name for name in NAMES if name != "fltrust"]
# CRFL bounds the model that updates lead to.
FOLLOW_THE_CLIENTS = [name for name in OF_THE_CLIENTS if name != "crfl"]
KEEPS_SOMEBODY = [name for name in OF_THE_CLIENTS if name != "alignins"]


def make_updates(count, seed=0, deltas=None, buffers=None):
    draw = np.random.default_rng([seed, count])

    def normal(*shape):
        return torch.from_numpy(draw.normal(size=shape)).float()

    usual_deltas, usual_buffers = normal(PARAMETERS) + normal(count, PARAMETERS), normal(count, BUFFERS)
    buffers = usual_buffers if buffers is None else buffers
    return ClientUpdates(
        usual_deltas if deltas is None else deltas,
        buffers,
        torch.from_numpy(draw.integers(1, 900, count)).double(),
        tuple(draw.permutation(100)[:count].tolist()),
        normal(PARAMETERS),
        normal(BUFFERS)[: buffers.shape[1]],
    )


OPTIONS = {"snowball": {"initial": 2, "tuning": 1, "hidden": 8, "latent": 2}}  # what makes it quick


def aggregate(name, updates, rounds=1):
    """The aggregate of a fresh defense after ``rounds`` rounds of the same updates."""
    defense = registry.create_defense(registry.choose("defense", name, **OPTIONS.get(name, {})), SERVER)
    for number in range(1, rounds + 1):
        result = defense.aggregate(updates, RoundContext(round=number, seed=SERVER.seed))
    return result


def check_form(result, updates, somebody=True):
    assert result.delta.shape == updates.global_params.shape
    assert result.buffers.shape == updates.global_buffers.shape
    for tensor in (result.delta, result.buffers):
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
    if result.kept is not None:
        assert result.kept.dtype == torch.bool
        assert result.kept.shape == (len(updates),)
        assert result.kept.any() or not somebody
    assert all(np.isfinite(figure) for figure in read(list(result.info.values())))


def noise_of(result):
    """More than the noise that a defense says it adds to any coordinate, 0 where it says nothing."""
    return 6 * sum(float(figure) for name, figure in result.info.items() if name.endswith("_sigma"))


def test_all_issued_baselines_are_registered():
    assert {"fedavg", "krum", "multi-krum", "flame", "median", "trimmed-mean"} <= set(NAMES)
    assert {"fltrust", "foolsgold", "fedcpa", "rlr", "deepsight", "freqfed"} <= set(NAMES)


@pytest.mark.parametrize("name", sorted(registry.defenses()))
def test_documentation(name):
    component = registry.defenses()[name]
    assert component.summary.endswith(".")
    for option in component.options:
        assert option.origin != "unmarked", option.name


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", NAMES)
class TestEveryDefense:
    def test_form_and_untouched_inputs(self, name, count):
        updates = make_updates(count)
        before = {key: value.clone() for key, value in vars(updates).items() if isinstance(value, torch.Tensor)}
        check_form(aggregate(name, updates, rounds=2), updates, somebody=name in KEEPS_SOMEBODY)
        for key, value in before.items():
            assert torch.equal(getattr(updates, key), value), key

    def test_result_is_not_a_view_of_its_inputs(self, name, count):
        updates = make_updates(count)
        result = aggregate(name, updates)
        delta, buffers = result.delta.clone(), result.buffers.clone()
        for given in (updates.deltas, updates.buffers, updates.global_params, updates.global_buffers):
            given.fill_(7)  # the simulator writes the next round into the same memory
        assert torch.equal(result.delta, delta)
        assert torch.equal(result.buffers, buffers)

    def test_repeats_are_identical(self, name, count):
        first, second = (aggregate(name, make_updates(count), rounds=2) for _ in range(2))
        assert torch.equal(first.delta, second.delta)
        assert torch.equal(first.buffers, second.buffers)
        assert first.info == second.info
        assert (first.kept is None) == (second.kept is None)
        assert first.kept is None or torch.equal(first.kept, second.kept)

    def test_global_random_state_is_neither_read_nor_written(self, name, count):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = aggregate(name, make_updates(count))
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert torch.equal(aggregate(name, make_updates(count)).delta, first.delta)

    @pytest.mark.parametrize("ties", [False, True])
    def test_order_of_clients_does_not_matter(self, name, count, ties):
        for seed in range(4):
            draw = np.random.default_rng(seed)
            deltas = torch.from_numpy(draw.integers(-1, 2, (count, PARAMETERS)) / 10).float() if ties else None
            if ties:
                deltas[:, 2:] = 0  # few distinct updates: duplicates, equal scores, zero norms
            updates = make_updates(count, seed, deltas)
            order = torch.from_numpy(draw.permutation(count))
            straight, shuffled = aggregate(name, updates), aggregate(name, updates.select(order))
            torch.testing.assert_close(shuffled.delta, straight.delta, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(shuffled.buffers, straight.buffers, rtol=1e-5, atol=1e-6)
            if straight.kept is not None:
                assert torch.equal(shuffled.kept, straight.kept[order])

    def test_buffers_never_decide(self, name, count):
        updates = make_updates(count)
        huge = torch.zeros(count, BUFFERS)
        huge[0] = 1e30
        usual, odd = aggregate(name, updates), aggregate(name, make_updates(count, buffers=huge))
        assert torch.equal(odd.delta, usual.delta)
        assert usual.kept is None or torch.equal(odd.kept, usual.kept)
        check_form(odd, updates, somebody=name in KEEPS_SOMEBODY)

    def test_zero_updates_give_zero(self, name, count):
        result = aggregate(name, make_updates(count, deltas=torch.zeros(count, PARAMETERS)))
        assert result.delta.abs().max() <= noise_of(result)

    def test_a_round_in_which_no_two_clients_agree(self, name, count):
        """Orthogonal updates of very different size: every client looks like an outlier; some aggregate must come."""
        updates = make_updates(count, deltas=torch.eye(count, PARAMETERS) * 10.0 ** torch.arange(count)[:, None])
        check_form(aggregate(name, updates), updates, somebody=name in KEEPS_SOMEBODY)

    def test_the_largest_finite_updates(self, name, count):
        updates = make_updates(count, deltas=torch.full((count, PARAMETERS), 3e38))
        updates.deltas[::2] *= -1
        check_form(aggregate(name, updates), updates, somebody=name in KEEPS_SOMEBODY)

    def test_models_without_batchnorm(self, name, count):
        updates = make_updates(count, buffers=torch.zeros(count, 0))
        assert aggregate(name, updates).buffers.shape == (0,)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", FOLLOW_THE_CLIENTS)
def test_identical_clients_give_what_each_sent(name, count):
    one, statistics = torch.linspace(-1, 1, PARAMETERS), torch.linspace(1, 2, BUFFERS)
    updates = make_updates(count, deltas=one.repeat(count, 1), buffers=statistics.repeat(count, 1))
    result = aggregate(name, updates)
    noise = noise_of(result)
    torch.testing.assert_close(result.delta, one, rtol=1e-5, atol=1e-6 + noise)
    torch.testing.assert_close(result.buffers, statistics, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in FOLLOW_THE_CLIENTS if name != "rlr"])  # which reverses coordinates
def test_aggregates_stay_within_the_updates(name):
    """Each coordinate of an aggregate lies between the smallest and largest update (deltas, never weights)."""
    updates = make_updates(10)
    result = aggregate(name, updates)
    slack = noise_of(result) + 1e-6
    low, high = updates.deltas.min(dim=0).values.clamp(max=0), updates.deltas.max(dim=0).values.clamp(min=0)
    assert ((result.delta >= low - slack) & (result.delta <= high + slack)).all()


@pytest.mark.parametrize("name", NAMES)
def test_updates_in_bfloat16_are_taken_for_their_values(name):
    """Half of the memory, and no sum in so few digits: as if the rounded values had come in float32."""
    rounded = make_updates(10).deltas.bfloat16()
    expected = aggregate(name, make_updates(10, deltas=rounded.float()), rounds=3)
    updates = make_updates(10, deltas=rounded)
    result = aggregate(name, updates, rounds=3)
    check_form(result, updates, somebody=name in KEEPS_SOMEBODY)
    assert updates.deltas.dtype == torch.bfloat16
    torch.testing.assert_close(result.delta, expected.delta, rtol=1e-5, atol=1e-6)
    if expected.kept is not None:
        assert torch.equal(result.kept, expected.kept)
