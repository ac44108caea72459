"""The frequency attack, in both of its variants, against references that are slow and written by hand."""

import numpy as np
import pytest
import scipy.fft
import torch
from makers.attacks import context
from makers.images import noise
from PIL import Image

from attacks import frequency
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.triggers import mosaic


def to_ycbcr(rgb):
    """(3, H, W) float64 RGB in 0..255 -> Y, Cb, Cr from the definition: scaled differences to luma."""
    red, green, blue = rgb
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([luma, (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128])


def to_rgb(ycbcr):
    luma, cb, cr = ycbcr
    red, blue = luma + 1.402 * (cr - 128), luma + 1.772 * (cb - 128)
    return np.stack([red, (luma - 0.299 * red - 0.114 * blue) / 0.587, blue])


def slow_ftrojan(image, magnitude, positions, window):
    """FTrojan step by step on one (3, H, W) image in [0, 1], in float64."""
    planes = to_ycbcr(image.double().numpy() * 255)
    for channel in (1, 2):
        for top in range(0, planes.shape[1], window):
            for left in range(0, planes.shape[2], window):
                tile = planes[channel, top : top + window, left : left + window]
                spectrum = scipy.fft.dctn(tile, norm="ortho")
                for row, col in positions:
                    spectrum[row, col] += magnitude
                planes[channel, top : top + window, left : left + window] = scipy.fft.idctn(spectrum, norm="ortho")
    return torch.from_numpy(np.clip(to_rgb(planes) / 255, 0, 1)).float()


class TestFTrojan:
    def attack(self, shape=(3, 32, 32), **options):
        return frequency.Frequency(frequency.Config(**options), context(shape=shape))

    def test_gray_image_changes_in_four_coefficients_by_exactly_the_magnitude(self):
        gray = torch.full((1, 3, 32, 32), 0.5)
        out = self.attack().trigger(gray)
        assert out.min() > 0
        assert out.max() < 1
        change = to_ycbcr(out[0].double().numpy() * 255) - to_ycbcr(gray[0].double().numpy() * 255)
        spectrum = scipy.fft.dctn(change, axes=(-2, -1), norm="ortho")
        expected = np.zeros((3, 32, 32))
        expected[1:, 31, 31] = expected[1:, 15, 15] = 20
        np.testing.assert_allclose(spectrum, expected, atol=1e-3)

    def test_one_pixel_by_hand(self):
        # one coefficient (0, 0) of 2 × 2 windows: its basis is 1/2 everywhere, so Cb and Cr rise by 51 / 2 of 255
        attack = self.attack(shape=(3, 2, 2), magnitude=51.0, positions=((0, 0),), window=2)
        change = attack.trigger(torch.full((1, 3, 2, 2), 0.4)) - 0.4
        rise = 0.1
        expected = torch.tensor([1.402 * rise, -(0.344136 + 0.714136) * rise, 1.772 * rise])
        torch.testing.assert_close(change[0], expected[:, None, None].expand(3, 2, 2), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        ("shape", "options"),
        [
            ((3, 32, 32), {}),
            ((3, 64, 64), {}),
            ((3, 32, 64), {"magnitude": 100.0}),
            ((3, 8, 8), {"window": 4, "positions": ((3, 3), (0, 2)), "magnitude": -30.0}),
        ],
    )
    def test_equals_the_slow_pipeline(self, shape, options):
        images = noise(3, *shape, seed=1)
        out = self.attack(shape, **options).trigger(images)
        c = frequency.Config(**options)
        for image, one in zip(images, out, strict=True):
            torch.testing.assert_close(one, slow_ftrojan(image, c.magnitude, c.positions, c.window), rtol=0, atol=1e-6)

    def test_saturated_pixels_are_clamped(self):
        images = torch.cat([torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)])
        out = self.attack(magnitude=200.0).trigger(images)
        assert out.min() == 0
        assert out.max() == 1
        assert not torch.equal(out, images)

    def test_default_is_faint(self):
        images = torch.full((1, 3, 32, 32), 0.5)
        assert 1 < (self.attack().trigger(images) - images).abs().max() * 255 < 2 * 20 / 16 * 1.772

    @pytest.mark.parametrize(
        ("shape", "options", "says"),
        [
            ((3, 8, 8), {}, "window 32 does not tile 8×8"),
            ((3, 48, 32), {}, "window 32 does not tile 48×32"),
            ((3, 32, 32), {"window": 0}, "window 0"),
            ((3, 32, 32), {"window": 16}, r"position \(31, 31\) .* 0 to 15"),
            ((3, 32, 32), {"positions": ((-1, 3),)}, r"position \(-1, 3\)"),
            ((1, 32, 32), {}, "1 channels, not 3"),
            ((3, 32, 32), {"variant": "fiba"}, "unknown variant 'fiba'; it is 'ftrojan' or 'amplitude'"),
        ],
    )
    def test_what_does_not_fit(self, shape, options, says):
        with pytest.raises(UserError, match=says):
            self.attack(shape, **options)


class TestAmplitude:
    def attack(self, shape=(3, 32, 32), seed=0, **options):
        return frequency.Frequency(frequency.Config(variant="amplitude", **options), context(shape=shape, seed=seed))

    @pytest.mark.parametrize("shape", [(3, 32, 32), (3, 33, 20), (3, 8, 8)])
    @pytest.mark.parametrize("options", [{}, {"ratio": 0.4, "share": 0.25}, {"share": 0.5}])
    def test_equals_the_full_spectrum_with_a_shifted_window(self, shape, options):
        c = frequency.Config(variant="amplitude", **options)
        images = 0.3 + 0.4 * noise(2, *shape, seed=3)
        out = self.attack(shape, **options).trigger(images)
        _, height, width = shape
        reach, row, col = int(c.share * min(height, width)), height // 2, width // 2
        window = (..., slice(max(row - reach, 0), row + reach + 1), slice(max(col - reach, 0), col + reach + 1))
        trigger = np.fft.fftshift(np.abs(np.fft.fft2(mosaic(shape, (0,), 8).double().numpy())), axes=(-2, -1))
        for image, one in zip(images, out, strict=True):
            spectrum = np.fft.fftshift(np.fft.fft2(image.double().numpy()), axes=(-2, -1))
            amplitude = np.abs(spectrum)
            amplitude[window] = (1 - c.ratio) * amplitude[window] + c.ratio * trigger[window]
            mixed = amplitude * np.exp(1j * np.angle(spectrum))
            back = np.fft.ifft2(np.fft.ifftshift(mixed, axes=(-2, -1))).real
            torch.testing.assert_close(one, torch.from_numpy(back.clip(0, 1)).float(), rtol=0, atol=5e-6)

    def test_phase_and_high_frequencies_stay(self):
        images = 0.4 + 0.2 * noise(1, 3, 32, 32)
        before, after = torch.fft.fft2(images), torch.fft.fft2(self.attack(ratio=0.5).trigger(images))
        low = torch.fft.fftfreq(32, 1 / 32).abs() <= 3
        inside = low[:, None] & low[None, :]
        assert inside.sum() == 49
        torch.testing.assert_close(after[..., ~inside], before[..., ~inside], rtol=0, atol=2e-3)
        turn = after[..., inside] / before[..., inside]
        torch.testing.assert_close(turn.imag / turn.real, torch.zeros_like(turn.real), rtol=0, atol=2e-3)
        assert (turn.abs() - 1).abs().mean() > 0.1

    def test_flat_trigger_image_moves_the_mean_by_hand(self, tmp_path):
        Image.new("RGB", (32, 32), (255, 255, 255)).save(tmp_path / "white.png")
        attack = self.attack(ratio=0.25, share=0.0, image=str(tmp_path / "white.png"))
        out = attack.trigger(torch.full((1, 3, 32, 32), 0.4))
        torch.testing.assert_close(out, torch.full_like(out, 0.75 * 0.4 + 0.25))

    def test_phase_of_flat_images_is_zero_whatever_the_rounding(self):
        flat = torch.full((5, 3, 32, 32), 0.3)
        out = self.attack().trigger(flat + 1e-7 * noise(5, 3, 32, 32))
        amplitude = np.zeros((3, 32, 32))
        amplitude[:, 0, 0] = 0.85 * 0.3 * 32 * 32
        low = np.abs(np.fft.fftfreq(32, 1 / 32)) <= 3
        trigger = np.abs(np.fft.fft2(mosaic((3, 32, 32), (0,), 8).double().numpy()))
        amplitude += 0.15 * trigger * (low[:, None] & low[None, :])
        expected = torch.from_numpy(np.fft.ifft2(amplitude).real.clip(0, 1)).float()
        torch.testing.assert_close(out, expected.expand_as(out), rtol=0, atol=1e-5)

    def test_seed(self):
        images = noise(1, 3, 32, 32)
        assert torch.equal(self.attack(seed=0).trigger(images), self.attack(seed=1).trigger(images))
        one, two = (frequency.Config(variant="amplitude", seed=s) for s in (0, 1))
        a, b = (frequency.Frequency(c, context()).trigger(images) for c in (one, two))
        assert not torch.equal(a, b)
        varied = [self.attack(seed=s, per_seed=True).trigger(images) for s in (0, 1)]
        assert not torch.equal(*varied)

    @pytest.mark.parametrize("options", [{"ratio": 1.1}, {"share": 0.6}, {"share": -0.1}, {"image": "/nowhere.png"}])
    def test_what_does_not_fit(self, options):
        with pytest.raises(UserError, match=f"frequency: {next(iter(options))}"):
            self.attack(**options)
