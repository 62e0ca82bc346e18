"""Prior files: both formats keep every bit, and nothing is left half-written."""

import errno

import numpy as np
import pytest
from astropy.io import fits

from celestepy import whole_files
from celestepy.model.prior_laws import LogisticBeta, Normal
from celestepy.model.priors import Prior


@pytest.mark.parametrize("name", ["sdss-deep", "celeste2019"])
@pytest.mark.parametrize("extension", ["json", "fits"])
def test_what_is_saved_is_read_back_to_the_last_bit(name, extension, tmp_path):
    prior = Prior.load(name)
    path = tmp_path / f"prior.{extension}"
    prior.save(path)
    again = Prior.load(path)
    assert (again, again.provenance) == (prior, prior.provenance)
    assert list(tmp_path.iterdir()) == [path]  # no temporary file stays


def test_fits_tables_can_be_used_without_celestepy(tmp_path):
    prior = Prior.default()
    prior.save(tmp_path / "prior.fits")
    with fits.open(tmp_path / "prior.fits") as hdus:
        colors = hdus["GALAXY_COLORS"]
        np.testing.assert_array_equal(colors.data["MEAN"], prior.galaxy.colors.means)
        assert colors.header["PIVOT"] == prior.galaxy.colors.pivot
        assert "galaxy.log_radius.mean" in hdus["PRIOR"].data["ENTRY"]


@pytest.mark.parametrize(("table", "part"), [(1, "no table PRIOR"), (3, "no table GALAXY_COLORS")])
def test_other_fits_files_are_refused(table, part, tmp_path):
    path = tmp_path / "prior.fits"
    Prior.default().save(path)
    with fits.open(path) as hdus:
        fits.HDUList([hdu for k, hdu in enumerate(hdus) if k != table]).writeto(tmp_path / "broken.fits")
    with pytest.raises(ValueError, match=rf"broken.fits is not a prior file: .*{part}"):
        Prior.load(tmp_path / "broken.fits")


def test_a_damaged_fits_file_is_refused(tmp_path):
    path = tmp_path / "prior.fits"
    path.write_bytes(b"SIMPLE  =                    T" + b" " * 2850)
    with pytest.raises(ValueError, match="prior.fits is not a prior file"):
        Prior.load(path)


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "prior.json"
    Prior.default().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_files.os, "fsync", full)
    with pytest.raises(OSError, match="prior.json"):
        Prior.load("celeste2019").save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("law", [Normal(0.4, 1.3), LogisticBeta(1.0, 0.2, -0.5, 0.25)])
def test_densities_of_many_and_shares_above(law):
    x = np.linspace(-3.0, 6.0, 7)
    # The same formula in another order: equal but for round-off.
    np.testing.assert_allclose(law.log_density(x), [law.evaluate(value)[0] for value in x], rtol=1e-12)
    share = (law.sample(100_000, np.random.default_rng(1)) > 0.7).mean()
    assert law.share_above(0.7) == pytest.approx(share, abs=5 * 0.5 / 100_000**0.5)  # five binomial errors
