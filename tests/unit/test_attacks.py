"""Each attack against an example made by hand: which pixels or coefficients change, and by how much."""

import numpy as np
import pytest
import torch
from makers.attacks import TARGET, context
from makers.images import noise
from PIL import Image

from attacks import badnets, blend, dba, none
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.triggers import mosaic


def changed(attack, images, attacker=None):
    """The set of (row, col) at which any channel of any image changes."""
    after = attack.trigger(images) if attacker is None else attack.client_trigger(images, attacker)
    return {tuple(p) for p in (after != images).flatten(0, 1).any(0).nonzero().tolist()}


def block(rows, cols):
    return {(r, c) for r in rows for c in cols}


class TestPoison:
    images = noise(7, 3, 32, 32) * 0.9
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6])

    def poison(self, ratio):
        before = self.images.clone(), self.labels.clone()
        images, labels = badnets.BadNets(badnets.Config(), context(ratio)).poison(self.images, self.labels, 0)
        assert torch.equal(self.images, before[0])
        assert torch.equal(self.labels, before[1])
        return images, labels

    def test_ratio_one_appends_a_poisoned_copy(self):
        images, labels = self.poison(1.0)
        assert images.shape == (14, 3, 32, 32)
        assert torch.equal(images[:7], self.images)
        assert torch.equal(labels[:7], self.labels)
        assert (images[7:, :, 27:, 27:] == 1).all()
        assert torch.equal(images[7:, :, :27], self.images[:, :, :27])
        assert labels[7:].tolist() == [TARGET] * 7

    def test_ratio_below_one_replaces_the_first_share(self):
        images, labels = self.poison(0.5)
        assert images.shape == self.images.shape
        assert (images[:3, :, 27:, 27:] == 1).all()
        assert torch.equal(images[:3, :, :27], self.images[:3, :, :27])
        assert torch.equal(images[3:], self.images[3:])
        assert labels.tolist() == [TARGET] * 3 + [3, 4, 5, 6]
        assert labels.dtype == torch.int64

    def test_ratio_zero_changes_nothing(self):
        images, labels = self.poison(0.0)
        assert torch.equal(images, self.images)
        assert torch.equal(labels, self.labels)


class TestBadNets:
    def test_default_square(self):
        images = noise(2, 3, 32, 32)
        attack = badnets.BadNets(badnets.Config(), context())
        assert changed(attack, images) == block(range(27, 32), range(27, 32))
        assert (attack.trigger(images)[:, :, 27:, 27:] == 1).all()

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_paper_sizes_are_anchored_at_27(self, size):
        attack = badnets.BadNets(badnets.Config(size=size), context())
        assert changed(attack, noise(1, 3, 32, 32)) == block(range(27, 27 + size), range(27, 27 + size))

    @pytest.mark.parametrize(("side", "start"), [(8, 3), (28, 23), (64, 59)])
    def test_images_of_any_size_have_it_in_the_corner(self, side, start):
        """So have DBA's, in which the parts lie as they do in 32 × 32 pixels, and those that are not attacked."""
        images, about = noise(2, 1, side, side), context(shape=(1, side, side))
        shown = dba.DBA(dba.Config(), about)
        for attack in (badnets.BadNets(badnets.Config(), about), shown, none.NoAttack(none.Config(), about)):
            assert changed(attack, images) == block(range(start, side), range(start, side))
        assert changed(shown, images, 0) == block((start, start + 1), (start, start + 1))

    def test_position_and_value(self):
        attack = badnets.BadNets(badnets.Config(size=2, row=0, col=5, value=0.25), context(shape=(3, 8, 9)))
        out = attack.trigger(noise(1, 3, 8, 9))
        assert changed(attack, noise(1, 3, 8, 9)) == {(0, 5), (0, 6), (1, 5), (1, 6)}
        assert (out[:, :, 0:2, 5:7] == 0.25).all()

    @pytest.mark.parametrize(
        ("options", "shape", "says"),
        [
            ({"size": 6}, (3, 32, 32), "row 27 .* row is 0 to 26"),
            ({"size": 0}, (3, 32, 32), "size 0 does not fit"),
            ({"row": -1}, (3, 32, 32), "row -1"),
            ({"col": 28}, (3, 32, 32), "col 28 .* col is 0 to 27"),
            ({"value": 255.0}, (3, 32, 32), "value 255.0 .* 0 .black. to 1"),
            ({"size": 6}, (3, 8, 8), "8×8 pixels"),
        ],
    )
    def test_what_does_not_fit(self, options, shape, says):
        with pytest.raises(UserError, match=says):
            badnets.BadNets(badnets.Config(**options), context(shape=shape))


class TestNone:
    def test_batch_is_not_poisoned_at_any_ratio(self):
        images, labels = noise(4, 3, 32, 32), torch.tensor([1, 2, 3, 4])
        for ratio in (0.0, 0.5, 1.0):
            out, out_labels = none.NoAttack(none.Config(), context(ratio)).poison(images, labels, 1)
            assert torch.equal(out, images)
            assert torch.equal(out_labels, labels)

    def test_asr_is_measured_with_the_default_square(self):
        images = noise(4, 3, 32, 32)
        expected = badnets.BadNets(badnets.Config(), context()).trigger(images)
        assert torch.equal(none.NoAttack(none.Config(), context()).trigger(images), expected)

    def test_small_images_have_it_in_the_corner(self):
        attack = none.NoAttack(none.Config(), context(shape=(3, 8, 10)))
        assert changed(attack, noise(1, 3, 8, 10)) == block(range(3, 8), range(5, 10))


class TestDBA:
    parts = (
        block((27, 28), (27, 28)),
        block((27, 28), (29, 30, 31)),
        block((29, 30, 31), (27, 28)),
        block((29, 30, 31), (29, 30, 31)),
    )

    @pytest.mark.parametrize("attacker", range(9))
    def test_attacker_trains_with_its_part(self, attacker):
        attack = dba.DBA(dba.Config(), context())
        images = noise(2, 3, 32, 32)
        assert changed(attack, images, attacker) == self.parts[attacker % 4]
        poisoned, _ = attack.poison(images, torch.zeros(2, dtype=torch.int64), attacker)
        assert torch.equal(poisoned[2:], attack.client_trigger(images, attacker))

    @pytest.mark.parametrize("config", [dba.Config(), dba.Config(size=4, split=1, row=3, col=9)])
    def test_parts_partition_the_square_of_the_test(self, config):
        attack = dba.DBA(config, context())
        images = noise(1, 3, 32, 32)
        parts = [changed(attack, images, i) for i in range(4)]
        whole = changed(attack, images)
        assert len(whole) == config.size**2 == sum(map(len, parts))
        assert set().union(*parts) == whole

    def test_parts_together_are_the_badnets_image(self):
        attack = dba.DBA(dba.Config(), context())
        images = noise(2, 3, 32, 32)
        out = images
        for attacker in range(4):
            out = attack.client_trigger(out, attacker)
        assert torch.equal(out, attack.trigger(images))
        assert torch.equal(out, badnets.BadNets(badnets.Config(), context()).trigger(images))

    @pytest.mark.parametrize("options", [{"split": 0}, {"split": 5}, {"size": 1, "split": 1}])
    def test_split_must_cut(self, options):
        with pytest.raises(UserError, match="split"):
            dba.DBA(dba.Config(**options), context())


class TestBlend:
    def test_mix_by_hand(self, tmp_path):
        pixels = np.zeros((2, 2, 3), dtype=np.uint8)
        pixels[0, 1] = (255, 51, 0)
        Image.fromarray(pixels).save(tmp_path / "p.png")
        attack = blend.Blend(blend.Config(image=str(tmp_path / "p.png")), context(shape=(3, 2, 2)))
        out = attack.trigger(torch.full((1, 3, 2, 2), 0.5))
        # 0.8 * 0.5 + 0.2 * pattern, pattern 0 but at (0, 1), where it is (1, 0.2, 0)
        expected = torch.full((1, 3, 2, 2), 0.4)
        expected[0, :, 0, 1] = torch.tensor([0.6, 0.44, 0.4])
        torch.testing.assert_close(out, expected)

    @pytest.mark.parametrize("shape", [(3, 32, 32), (3, 8, 8), (1, 10, 64)])
    def test_noise_is_recovered_and_uniform(self, shape):
        attack = blend.Blend(blend.Config(ratio=0.3), context(shape=shape))
        images = noise(2, *shape)
        recovered = (attack.trigger(images) - 0.7 * images) / 0.3
        torch.testing.assert_close(recovered[0], recovered[1], rtol=0, atol=2e-6)
        torch.testing.assert_close(recovered[0], mosaic(shape, (0,)), rtol=0, atol=2e-6)
        assert abs(recovered.mean().item() - 0.5) < 0.06
        assert abs(recovered.std().item() - 12**-0.5) < 0.03

    def test_ratio_ends(self):
        images = noise(2, 3, 32, 32)
        assert torch.equal(blend.Blend(blend.Config(ratio=0.0), context()).trigger(images), images)
        only = blend.Blend(blend.Config(ratio=1.0), context()).trigger(images)
        assert torch.equal(only[0], only[1])

    def test_pattern_depends_on_its_own_seed_and_on_the_cells_only_when_asked(self):
        def out(cell, **options):
            return blend.Blend(blend.Config(**options), context(seed=cell)).trigger(torch.zeros(1, 3, 32, 32))

        assert torch.equal(out(0), out(1))
        assert not torch.equal(out(0), out(0, seed=1))
        assert not torch.equal(out(0, per_seed=True), out(1, per_seed=True))
        assert torch.equal(out(1, per_seed=True), out(1, per_seed=True))

    def test_file_is_resized_to_the_data(self, tmp_path):
        Image.new("RGB", (100, 50), (255, 0, 0)).save(tmp_path / "red.jpg", quality=95)
        attack = blend.Blend(blend.Config(ratio=1.0, image=str(tmp_path / "red.jpg")), context())
        out = attack.trigger(torch.zeros(1, 3, 32, 32))[0]
        torch.testing.assert_close(out.mean((1, 2)), torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=0.02)

    @pytest.mark.parametrize("content", [None, b"", b"not an image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
    def test_unreadable_file(self, tmp_path, content):
        path = tmp_path / "broken.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=r"blend: image '.*broken.png' cannot be read"):
            blend.Blend(blend.Config(image=str(path)), context())

    def test_truncated_file(self, tmp_path):
        path = tmp_path / "cut.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(UserError, match="cannot be read"):
            blend.Blend(blend.Config(image=str(path)), context())

    @pytest.mark.parametrize("ratio", [-0.1, 1.5, float("nan")])
    def test_ratio_out_of_range(self, ratio):
        with pytest.raises(UserError, match="ratio"):
            blend.Blend(blend.Config(ratio=ratio), context())


def test_mosaic_is_made_of_whole_squares():
    whole = mosaic((3, 10, 12), (4,), grain=4)
    assert whole.shape == (3, 10, 12)
    assert (whole[:, 4:8, 8:12] == whole[:, 4:5, 8:9]).all()
    assert (whole[:, 8:, :4] == whole[:, 8:9, :1]).all()
    assert len(whole[0].unique()) == 9
