from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import stats

from cxr_ray.models import noise
from cxr_ray.models.noise import Noise, counted_noise

CPU = torch.device("cpu")


@pytest.fixture(params=["drawn", "counted"])
def draws(request, monkeypatch):
    """A function that draws twice for some ids, in both of the ways in which a device may."""
    if request.param == "counted":
        monkeypatch.setattr(noise, "COUNTED_ON", {"cpu"})

    def draw(*ids, seed=0):
        with ThreadPoolExecutor(2) as pool:
            of_batch = Noise(ids, seed, CPU, pool)
            return torch.stack([of_batch.draw((3, 5, 7)), of_batch.draw((3, 5, 7))], 1)

    return draw


def test_noise_depends_on_the_id_and_the_seed_alone(draws):
    together = draws("a", "b", "a")
    assert together.shape == (3, 2, 3, 5, 7)
    assert together.dtype == torch.float32
    torch.testing.assert_close(draws("b")[0], together[1], atol=0, rtol=0)
    torch.testing.assert_close(together[2], together[0], atol=0, rtol=0)
    for other in (together[1], draws("a", seed=1)[0], together[0].flip(0)):  # flipped: the second draw is another
        assert not torch.isclose(other, together[0]).any()


def test_counted_values_are_independent_and_normal():
    values = counted_noise(torch.tensor([3, 4, -(2**62)]), 0, 200_000).double().numpy()
    for row in values:
        assert stats.kstest(row, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 0.01
        assert abs(np.corrcoef(row[::2] ** 2, row[1::2] ** 2)[0, 1]) < 0.01
    assert np.abs(np.corrcoef(values) - np.eye(3)).max() < 0.01
    assert np.isfinite(values).all()


def test_counted_values_are_those_of_splitmix64():
    def mixed(state):
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return state ^ (state >> 31)

    seed, first = 123_456_789, 1_000_000
    words = [mixed((seed + number * 0x9E3779B97F4A7C15) % 2**64) for number in range(first, first + 3)]
    radius = np.sqrt(-2 * np.log([((word >> 40) + 0.5) / 2**24 for word in words]))
    angle = np.array([(word >> 16) % 2**24 for word in words]) * 2 * np.pi / 2**24
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    found = counted_noise(torch.tensor([seed]), 2 * first, 6)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_counts_as_the_cpu_does():
    seeds = torch.tensor([3, 2**60])
    torch.testing.assert_close(
        counted_noise(seeds.cuda(), 10, 999).cpu(), counted_noise(seeds, 10, 999), atol=1e-5, rtol=0
    )
