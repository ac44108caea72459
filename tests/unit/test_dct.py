import math

import pytest
import scipy.fft
import torch

from clipfed_bench.toolbox.dct import dct2, dct_matrix, idct2


@pytest.mark.parametrize("shape", [(32, 32), (8, 12), (1, 1), (1, 7), (3, 5, 9), (2, 3, 32, 16)])
def test_equals_scipy(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho"))
    torch.testing.assert_close(dct2(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(idct2(expected), x, rtol=0, atol=1e-12)


def test_float32_round_trip_keeps_pixels():
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    back = idct2(dct2(x))
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, x, rtol=0, atol=2e-6)


def test_two_by_two_by_hand():
    # D = [[1, 1], [1, -1]] / sqrt(2), so the transform is sums and differences over two
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)
    expected = torch.tensor([[11.0, -3.0], [-5.0, 1.0]], dtype=torch.float64) / 2
    torch.testing.assert_close(dct2(x), expected)


@pytest.mark.parametrize("n", [1, 2, 7, 32])
def test_matrix_is_orthonormal(n):
    d = dct_matrix(n, dtype=torch.float64)
    torch.testing.assert_close(d @ d.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)
    assert d[0, 0].item() == pytest.approx(1 / math.sqrt(n))


def test_gradient_flows_also_after_inference_mode():
    dct_matrix.cache_clear()
    with torch.inference_mode():
        dct2(torch.ones(6, 6))
    x = torch.ones(6, 6, requires_grad=True)
    dct2(x)[2, 3].backward()
    torch.testing.assert_close(x.grad, torch.outer(dct_matrix(6)[2], dct_matrix(6)[3]))
