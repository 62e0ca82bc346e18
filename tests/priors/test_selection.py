"""How faint a catalogue is complete is read off its signal to noise."""

import numpy as np
import pytest

from celestepy.priors.selection import complete_to


def detected(threshold, scatter, seed):
    """Magnitudes and signal to noise of sources of 24th magnitude at S/N 1 and brighter, detected above a threshold."""
    rng = np.random.default_rng(seed)
    mag = 24.0 - rng.exponential(1.2, 5000)
    snr = 10 ** (0.4 * (24.0 - mag)) * np.exp(scatter * rng.standard_normal(5000)) + rng.standard_normal(5000)
    return mag[snr > threshold], snr[snr > threshold]


@pytest.mark.parametrize("scatter", [0.0, 0.2])
@pytest.mark.parametrize("threshold", [5.0, 10.0])
def test_next_to_nothing_is_lost_above_the_limit(threshold, scatter):
    limit = complete_to(*detected(threshold, scatter, seed=1))
    rng = np.random.default_rng(2)
    faint = 10 ** (0.4 * (24.0 - limit)) * np.exp(scatter * rng.standard_normal(100_000))
    lost = (faint + rng.standard_normal(100_000) < threshold).mean()  # of those just at the limit
    assert lost < 0.1
    # and not needlessly bright: there the median is at most four standard deviations and the scatter above
    assert 10 ** (0.4 * (24.0 - limit)) < (threshold + 4) * np.exp(2 * scatter) * 10**0.1


def test_nothing_known():
    assert np.isnan(complete_to(np.array([20.0, 21.0]), np.array([np.nan, np.nan])))
    assert np.isnan(complete_to(np.zeros(0), np.zeros(0)))
