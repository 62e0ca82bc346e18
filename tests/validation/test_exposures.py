"""Joint fits of real exposures: errors shrink, fluxes agree with a coadd, nothing is left over."""

import numpy as np
import pytest

from celestepy.images import read_toml
from celestepy.pipeline import make_catalog

pytestmark = pytest.mark.validation


@pytest.fixture(scope="module")
def exposures(benchmark_script):
    return benchmark_script("exposures")


@pytest.fixture(scope="module")
def stamps(exposures, data_dir):
    return exposures.Stamps(data_dir / "stripe82_stamps")


def test_errors_shrink_with_the_square_root_of_the_number(exposures, stamps):
    """Within 15 %, wherever one exposure measures a quantity well enough for the pixels to set its error."""
    numbers = (1, 4, 14)
    ratios, snr, _ = exposures.measure_shrinking(stamps, numbers, exposures.broad_prior())
    measured = snr > exposures.MEASURED
    assert measured.sum() >= 5  # three fluxes, two coordinates and the radius of the brighter source
    assert np.all(np.abs(ratios[:, measured] - 1) < exposures.SHRINKING)


def test_single_exposures_scatter_by_their_errors(exposures, stamps):
    """Thirteen exposures tell a standard deviation to 20 %; the bounds are three times that."""
    _, _, pulls = exposures.measure_shrinking(stamps, (1,), exposures.broad_prior())
    fluxes = [exposures.SCALED.index(f"flux_{band}") for band in "gri"]
    assert np.all((pulls[0, fluxes] > 0.4) & (pulls[0, fluxes] < 1.6))


def test_fluxes_agree_with_the_coadd(exposures, stamps):
    """Within two standard deviations of both errors and 3 % together, in all bands of both sources."""
    result, rows = stamps.fit(stamps.subsets(stamps.exposures)[0])
    figures = exposures.agreement_figures(stamps, result, rows)
    assert len(figures) == 10
    assert not [(figure.name, figure.note) for figure in figures if not figure.met]


def test_eight_decam_exposures_leave_only_noise(exposures, data_dir, tmp_path):
    images = read_toml(exposures.describe(data_dir / "decam_tc3", tmp_path / "decam.toml"))
    assert len(images) == 8
    figures = exposures.residual_figures(images, make_catalog(images).model_images())
    assert not [(figure.name, figure.value) for figure in figures if not figure.met]
