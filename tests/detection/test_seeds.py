"""Seeds as a record, and seeds from any table."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from detection.gaussian_skies import DEC, RA, Sky, astrometry, observe

from celestepy.detection import SeedFlag, Seeds, SeedWarning, detect
from celestepy.images import ImageError

SKY = Sky.of((0.0, 0.0, 5.0), (12.0, -8.0, 20.0), (-15.0, 10.0, 3.0))


@pytest.fixture
def images(rng):
    turned = astrometry(angle=20.0, shift=(4.2, 1.1))
    return [observe(SKY, rng, band="g"), observe(SKY, rng, band="r", wcs=turned)]


@pytest.fixture
def positions():
    return Table(dict(zip(("ra", "dec"), SKY.radec, strict=True)))


def test_fluxes_are_measured_at_the_positions(images, positions):
    """In the order of the table and at its very positions; fluxes within four errors."""
    seeds = Seeds.from_table(positions, images)
    np.testing.assert_array_equal(seeds.ra, positions["ra"])
    np.testing.assert_array_equal(seeds["row"], [0, 1, 2])
    assert seeds.bands == ("g", "r")
    assert (np.abs(seeds.flux - SKY.flux[:, None]) < 4 * seeds.flux_err).all()
    np.testing.assert_allclose(seeds.snr_bands, seeds.flux / seeds.flux_err, rtol=1e-6)
    assert not seeds.flags.any()


def test_detected_seeds_measured_again_agree(images):
    """Positions of `detect` given back as a table: the same fluxes, where no neighbour is near."""
    detected = detect(images)
    again = Seeds.from_table(detected.table, images)
    np.testing.assert_allclose(again.flux, detected.flux, rtol=1e-6)
    np.testing.assert_allclose(again.position_err, detected.position_err)


@pytest.mark.parametrize(
    "convert",
    [
        lambda t: Table({"RA": t["ra"], "DEC": t["dec"]}),
        lambda t: Table({"Ra": t["ra"], "Dec": t["dec"], "mag": np.ones(3)}),
        lambda t: QTable({"ra": t["ra"] * u.deg, "dec": t["dec"] * u.deg}),
        lambda t: QTable({"ra": (t["ra"] * u.deg).to(u.hourangle), "dec": (t["dec"] * u.deg).to(u.arcsec)}),
        lambda t: Table({"ra": t["ra"] * u.deg, "dec": t["dec"] * u.deg}),
        lambda t: {"ra": list(t["ra"]), "dec": list(t["dec"])},
        lambda t: np.rec.fromarrays([t["ra"].astype(">f8"), t["dec"].astype(">f8")], names="ra,dec"),
        lambda t: Table({"ra": MaskedColumn(t["ra"]), "dec": MaskedColumn(t["dec"])}),
        lambda t: Table({"ra": t["ra"] - 360.0, "dec": t["dec"]}),
    ],
)
def test_any_table_will_do(images, positions, convert):
    """Names in any case, units or plain degrees, native bytes or not, right ascension in any turn."""
    seeds = Seeds.from_table(convert(positions), images)
    assert seeds.coord.separation(SkyCoord(*SKY.radec, unit="deg")).arcsec.max() < 1e-6
    assert (np.abs(seeds.flux - SKY.flux[:, None]) < 4 * seeds.flux_err).all()


def test_position_errors_of_the_table_are_kept(images, positions):
    positions["position_err"] = [0.1, 0.2, 0.3]
    np.testing.assert_allclose(Seeds.from_table(positions, images).position_err, [0.1, 0.2, 0.3])
    positions["position_err"] = positions["position_err"] / 3600 * u.deg
    np.testing.assert_allclose(Seeds.from_table(positions, images).position_err, [0.1, 0.2, 0.3])


def test_seeds_outside_are_dropped_with_their_number(images, positions):
    positions.add_row([RA + 1.0, DEC])
    positions.add_row([RA, DEC - 1.0])
    positions.add_row([RA, DEC])
    with pytest.warns(SeedWarning, match="dropped 2 outside all images, of 6"):
        seeds = Seeds.from_table(positions, images)
    np.testing.assert_array_equal(seeds["row"], [0, 1, 2, 5])


def test_seeds_without_a_position_are_dropped(images, positions):
    table = Table(positions, masked=True)
    table["ra"].mask[1] = True
    table["dec"][2] = np.nan
    with pytest.warns(SeedWarning, match="dropped 2 without a position, of 3"):
        assert len(Seeds.from_table(table, images)) == 1


def test_all_outside_is_an_error(images):
    with pytest.raises(ImageError, match="none of 2 lies on any of the 2 images"):
        Seeds.from_table({"ra": [10.0, 20.0], "dec": [2.0, 2.0]}, images)


def test_no_rows_is_an_error(images):
    with pytest.raises(ImageError, match="no rows, expected one position"):
        Seeds.from_table(Table({"ra": np.zeros(0), "dec": np.zeros(0)}), images)


def test_exact_duplicates_are_flagged_not_dropped(images, positions):
    positions.add_row(positions[1])
    positions.add_row(positions[1])
    seeds = Seeds.from_table(positions, images)
    np.testing.assert_array_equal(seeds.has(SeedFlag.DUPLICATE), [False, False, False, True, True])
    np.testing.assert_array_equal(seeds.flux[3], seeds.flux[1])


def test_seeds_seen_by_some_images_alone(rng):
    """A band that does not reach the seed has no flux there: NaN, S/N of zero, and that is no flag."""
    images = [observe(SKY, rng, band="g"), observe(SKY, rng, band="r", wcs=astrometry(shift=(60.0, 0.0)))]
    table = Table(dict(zip(("ra", "dec"), Sky.of((-36.0, 0.0, 1.0), (0.0, 0.0, 5.0)).radec, strict=True)))
    seeds = Seeds.from_table(table, images)
    missing = np.isnan(seeds.flux)
    assert missing.sum() == 1
    assert (seeds.snr_bands[missing] == 0).all()
    assert np.isfinite(seeds.snr).all()


def test_flags_of_given_seeds(rng):
    """On an edge, on a masked column, on a saturated patch, and on nothing."""
    mask, saturated = np.zeros((2, 201, 201), bool)
    mask[:, 140:143], saturated[48:53, 98:103] = True, True
    image = observe(Sky.of(), rng, mask=mask, saturated=saturated)
    x, y = np.array([0.5, 141.0, 100.0, 60.0]), np.array([100.0, 100.0, 50.0, 100.0])
    seeds = Seeds.from_table(dict(zip(("ra", "dec"), image.pixel_to_sky(x, y), strict=True)), image)
    masked = SeedFlag.MASKED
    expected = [SeedFlag.EDGE | masked, masked, SeedFlag.SATURATED | masked, SeedFlag(0)]
    assert [SeedFlag(int(flags)) for flags in seeds.flags] == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x": [1.0], "y": [2.0]}, "no column ra nor dec, the table has x, y"),
        ({"ra": [RA], "decl": [DEC]}, "no column dec, the table has ra, decl"),
        ({"ra": ["10:00:00"], "dec": ["02:00:00"]}, "column ra holds .10:00:00., expected numbers"),
        (QTable({"ra": [1.0] * u.m, "dec": [2.0] * u.deg}), "column ra is no angle"),
        ({"ra": [DEC], "dec": [RA]}, "are ra and dec swapped"),
        (3.0, "expected a table with columns ra and dec"),
    ],
)
def test_bad_tables_are_named(images, table, message):
    with pytest.raises(ImageError, match=message) as error:
        Seeds.from_table(table, images)
    assert "\n" not in str(error.value)


def test_the_table_has_names_units_and_types(images):
    table = detect(images).table
    units = {"ra": u.deg, "dec": u.deg, "position_err": u.arcsec, "half_light_radius": u.arcsec}
    units |= {f"flux_{band}{end}": u.nmgy for band in "gr" for end in ("", "_err")}
    for name, unit in units.items():
        assert table[name].unit == unit
    assert table["flags"].dtype.kind == "i"
    assert set(table.colnames) == {*units, "snr", "snr_g", "snr_r", "flags"}


def test_rows_are_selected(images):
    seeds = detect(images)
    assert len(seeds) == 3
    assert len(seeds[0]) == len(seeds[-1]) == len(seeds[1:2]) == len(seeds[seeds.snr == seeds.snr.max()]) == 1
    assert seeds[-1].snr[0] == seeds.snr[2]
    np.testing.assert_array_equal(seeds["snr"], seeds.snr)
    assert repr(seeds) == "<Seeds: 3 in bands g, r, 0 flagged>"


def test_table_survives_a_file(images, tmp_path):
    seeds = detect(images)
    seeds.table.write(tmp_path / "seeds.ecsv")
    again = Seeds.from_table(QTable.read(tmp_path / "seeds.ecsv"), images)
    np.testing.assert_array_equal(again.ra, seeds.ra)
