"""Sources that are drawn away from their seeds, galaxies that grow beyond their patches, and what their rows say."""

import numpy as np
import pytest
from inference.small_fields import field, galaxy, seeds, star

from celestepy.catalog import Flag, Status
from celestepy.inference import LaplaceFit
from celestepy.inference.rows import blank_row, remark

KEEP = {"drop_doubtful": False, "search": False}


def fit(images, table):
    return LaplaceFit(**KEEP).fit(images, table)


def distance(catalog, table):
    """How far each row lies from its seed, arcsec."""
    east = (catalog["ra"].value - table["ra"]) * np.cos(np.radians(table["dec"]))
    return 3600 * np.hypot(east, catalog["dec"].value - table["dec"])


@pytest.fixture(scope="module")
def beside():
    """A star of mag 15, and seven pixels (2.8 arcsec) from it one of mag 20."""
    pair = [star(20.0), star(15.0, 7.0)]
    return pair, field(*pair).images


class TestPosition:
    def test_a_source_does_not_run_off_to_a_bright_one_without_a_seed(self, beside):
        """It stays within 5 standard deviations, .28 arcsec, and the .1 arcsec that a wall gives way."""
        pair, images = beside
        table = seeds(pair[0])
        result = fit(images, table)
        assert distance(result.catalog, table)[0] < 5 * 0.28 + 0.1

    def test_it_is_not_passed_off_as_a_good_fit(self, beside):
        pair, images = beside
        result = fit(images, seeds(pair[0]))
        assert result.catalog["status"][0] == Status.NOT_CONVERGED
        assert result.catalog["flags"][0] & Flag.POSITION_AT_BOUND
        assert "brighter source beside it that has no seed" in result.catalog["message"][0]
        assert result.summary.startswith("1 row (1 not converged)")

    def test_with_both_in_the_list_all_is_well(self, beside):
        pair, images = beside
        catalog = fit(images, seeds(*pair)).catalog
        assert (catalog["status"] == Status.CONVERGED).all()
        assert not (catalog["flags"] & Flag.POSITION_AT_BOUND).any()
        # The faint one lies on the wings of the other: three of its errors.
        truth = np.array([20.0, 15.0])
        assert (np.abs(catalog["mag_r"].value - truth) < 3 * catalog["mag_r_err"].value + 0.01).all()

    def test_seeds_may_be_wrong_by_a_few_standard_deviations(self):
        """A star .8 arcsec from its seed (almost three of .28) is found where it is, within four errors."""
        source = star(19.0)
        catalog = fit(field(source).images, seeds(also=[(2.0, 0.0)])).catalog
        assert catalog["status"][0] == Status.CONVERGED
        assert not catalog["flags"][0] & Flag.POSITION_AT_BOUND
        off = 3600 * (catalog["ra"][0].value - source.ra) * np.cos(np.radians(source.dec))
        assert abs(off) < 4 * catalog["ra_err"][0].value


class TestRadius:
    def test_a_galaxy_grows_no_larger_than_its_patch(self):
        """Half of its light within 25 arcsec, of which the patch, 8 FWHM of 1.2 arcsec each way, sees the middle."""
        source = galaxy(15.0, half_light_radius=25.0, dev_fraction=0.1)
        catalog = fit(field(source, size=151).images, seeds(source)).catalog
        assert catalog["half_light_radius"][0].value < 12.0
        assert catalog["flags"][0] & Flag.RADIUS_AT_BOUND
        assert "larger than its patch" in catalog["message"][0]


class TestMessages:
    def test_of_saturated_sources(self):
        saturated = np.zeros((61, 61), bool)
        saturated[29:32, 29:32] = True
        images = [image.replace(saturated=saturated, mask=saturated) for image in field(star(15.0)).images]
        catalog = fit(images, seeds(also=[(0.0, 0.0)])).catalog
        assert catalog["flags"][0] & Flag.SATURATED
        assert "saturated pixels" in catalog["message"][0]

    def test_the_gravest_comes_first_and_good_rows_have_none(self):
        assert remark("", 0) == remark("", Flag.BLENDED) == ""
        assert "drawn away" in remark("", Flag.SATURATED | Flag.POSITION_AT_BOUND)
        assert remark("stopped", int(Flag.SATURATED)) == "stopped"

    def test_of_duplicates(self):
        catalog = fit(field(star(19.0)).images, seeds(also=[(0.0, 0.0), (0.0, 0.0)])).catalog
        assert catalog["status"].tolist() == [Status.CONVERGED, Status.NOT_FITTED]
        assert catalog["flags"][1] & Flag.DUPLICATE_SEED
        assert "the estimates are in its row" in catalog["message"][1]

    def test_duplicates_are_counted_as_such(self):
        result = fit(field(star(19.0)).images, seeds(also=[(0.0, 0.0), (0.0, 0.0)]))
        assert result.summary == "2 rows (1 converged, 1 duplicate seed); 0 seeds dropped as noise"

    def test_of_rows_without_a_fit(self):
        assert blank_row(Status.FAILED, "why").columns["message"] == "why"
