"""Whole detections on simulated skies: complete, pure, in the right place."""

import sys

import numpy as np
import pytest
from detection.gaussian_skies import FWHM, Sky, astrometry, observe, point_error, separations

from celestepy.detection import SeedFlag, detect, expected_false_peaks
from celestepy.images import ImageError

SHAPE = (401, 401)
REACH = 68.0  # arcsec; all sources lie on an image of 401 pixels of 0.4 arcsec, whatever its angle


def several(sky, rng, n=3, **more):
    """Exposures in different bands, pixel scales, angles and shifts."""
    places = [
        {},
        {"angle": 25.0, "scale": 0.38, "shift": (3.3, -2.1)},
        {"angle": 90.0, "flip": False, "shift": (9.0, 4.6)},
    ]
    systems = [astrometry(SHAPE, **place) for place in places[:n]]
    return [observe(sky, rng, band="gri"[k], wcs=systems[k], shape=SHAPE, **more) for k in range(n)]


def matched(seeds, sky):
    """For each source: index of the nearest seed, and its offsets East and North [arcsec]."""
    distance = separations(seeds, sky)
    index = np.argmin(distance, axis=0)
    ra, dec = sky.radec
    east = 3600 * (seeds.ra[index] - ra) * np.cos(np.radians(dec))
    return index, east, 3600 * (seeds.dec[index] - dec)


def test_finds_all_and_nothing_else(rng):
    """S/N from 12 up in three images: none missed, and fewer than one noise peak expected."""
    flux = 10 ** rng.uniform(0.1, 2.0, 144)
    sky = Sky.lattice(rng, 55.0, 10.0, flux)
    seeds = detect(several(sky, rng))
    distance = separations(seeds, sky)
    assert (distance.min(axis=0) < 0.4).all()
    assert len(seeds) - len(sky.flux) <= 3  # 0.05 expected for each of three templates


def test_positions_and_fluxes_have_the_errors_they_claim(rng):
    """144 sources at an S/N of about 15: pulls of width 1, with a statistical error of 6%."""
    sky = Sky.lattice(rng, 55.0, 10.0, 2.0)
    seeds = detect(several(sky, rng))
    index, east, north = matched(seeds, sky)
    error = seeds.position_err[index]
    for offset in (east, north):
        assert np.std(offset / error) == pytest.approx(0.95, abs=0.2)  # errors grow with the size hint
        assert abs(np.mean(offset / error)) < 0.35  # four standard errors
    for k in range(3):
        pull = (seeds.flux[index, k] - 2.0) / seeds.flux_err[index, k]
        assert np.std(pull) == pytest.approx(1.0, abs=0.24)
        assert np.mean(pull) == pytest.approx(0.1, abs=0.35)  # the position is chosen to maximise the flux


def test_error_of_a_bright_position_has_a_floor(rng):
    seeds = detect(several(Sky.of((0.0, 0.0, 2000.0)), rng))
    assert seeds.position_err[0] == pytest.approx(0.02 * FWHM / 2.3548 * 0.4, rel=0.1)


@pytest.mark.parametrize("bands", ["r", "ugriz"])
def test_pure_noise_gives_the_expected_number(rng, bands):
    """At a threshold of 4 in 640,000 pixels: 15 peaks of a continuous map, of which pixels lose some."""
    images = [
        observe(Sky.of(), rng, band=band, shape=(400, 400), wcs=astrometry((400, 400), shift=(3 * k, -2 * k)))
        for k, band in enumerate(bands)
    ]
    parts = [images] + [
        [image.replace(pixels=rng.normal(0, 0.05, (400, 400))) for image in images] for _ in range(3)
    ]
    found = sum(len(detect(part, threshold=4.0)) for part in parts)
    expected = 4 * expected_false_peaks(4.0, 400 * 400, FWHM)
    assert 0.3 * expected < found < expected + 4 * np.sqrt(expected)


def test_expected_false_peaks_agrees_with_filtered_noise(rng):
    """The formula, against a finely sampled random field of 55,000 correlation areas; 27 peaks expected."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    width = 6.0  # pixels, of the PSF: fine sampling
    field = gaussian_filter(rng.normal(size=(2000, 2000)), width, mode="wrap")
    field /= field.std()
    found = np.count_nonzero((field == maximum_filter(field, 3, mode="wrap")) & (field > 3.5))
    expected = expected_false_peaks(3.5, field.size, width * 2.3548)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_no_source_no_seed(rng):
    seeds = detect(observe(Sky.of(), rng), threshold=7.0)
    assert len(seeds) == 0
    assert seeds.flux.shape == (0, 1)


def test_exposures_add_up(rng):
    """A source of S/N 3.5 in one exposure is one of 10 in eight."""
    sky = Sky.of((8.0, -5.0, 3.5 * point_error()))
    images = [observe(sky, rng, wcs=astrometry(shift=(2.3 * k, -1.7 * k), angle=3.0 * k)) for k in range(8)]
    one, all_ = detect(images[0], threshold=5.0), detect(images, threshold=5.0)
    assert not (separations(one, sky) < 1.0).any() if len(one) else True
    nearest = np.argmin(separations(all_, sky))
    assert separations(all_, sky)[nearest, 0] < 0.5
    assert all_.snr[nearest] == pytest.approx(3.5 * np.sqrt(8), abs=3.0)  # unit noise
    assert all_.flux_err[nearest, 0] == pytest.approx(point_error() / np.sqrt(8), rel=0.06)


def test_a_source_of_one_band_alone_is_found(rng):
    """A dropout: S/N 12 in the reddest band, nothing elsewhere; the coolest template keeps most of it."""
    images = several(Sky.of(), rng, 2)
    sky = Sky.of((5.0, 9.0, 12 * point_error()))
    images.append(observe(sky, rng, band="i", shape=SHAPE))
    assert separations(detect(images), sky).min() < 0.5


def test_masked_columns_hide_nothing_and_make_nothing(rng):
    """A masked column of bad values: no seeds along it, and the source beside it keeps its flux."""
    sky = Sky.of((0.0, 0.0, 5.0), (10.0, 10.0, 5.0))
    image = observe(sky, rng)
    pixels, mask = image.pixels.copy(), np.zeros(image.shape, bool)
    pixels[:, 101:103], mask[:, 101:103] = 1e4, True
    seeds = detect(image.replace(pixels=pixels, mask=mask))
    assert len(seeds) == 2
    index, _, _ = matched(seeds, sky)
    np.testing.assert_array_equal(seeds.has(SeedFlag.MASKED)[index], [True, False])
    assert seeds.flux[index[0], 0] == pytest.approx(5.0, abs=4 * seeds.flux_err[index[0], 0])


def test_nan_column_is_a_masked_column(rng):
    sky = Sky.of((0.0, 0.0, 5.0))
    image = observe(sky, rng)
    pixels = image.pixels.copy()
    pixels[:, 101:103] = np.nan
    mask = np.isnan(pixels)
    with_nan, with_mask = detect(image.replace(pixels=pixels)), detect(image.replace(mask=mask))
    np.testing.assert_array_equal(with_nan.ra, with_mask.ra)
    np.testing.assert_array_equal(with_nan.flux, with_mask.flux)


def saturated_star(rng, level=8.0, **more):
    """A star of 3000 nmgy clipped at `level`, with a bleed trail along its columns."""
    image = observe(Sky.of((0.7, -0.9, 3000.0), (30.0, 30.0, 10.0)), rng, **more)
    saturated = image.pixels > level
    y, x = np.unravel_index(np.argmax(image.pixels), image.shape)
    saturated[y - 40 : y + 40, x - 1 : x + 2] = True
    return image.replace(pixels=np.where(saturated, level, image.pixels), saturated=saturated)


def test_saturated_star_is_one_flagged_seed(rng):
    """Core and trail masked: one seed within a pixel of the star, where its wings' S/N is best."""
    sky = Sky.of((0.7, -0.9, 3000.0))
    seeds = detect(saturated_star(rng))
    assert len(seeds) == 2
    assert separations(seeds, sky)[0, 0] < 0.4
    np.testing.assert_array_equal(seeds.has(SeedFlag.SATURATED), [True, False])


def test_saturated_in_one_band_alone(rng):
    """The other band still shows the core: the seed is flagged and well placed."""
    sky = Sky.of((0.7, -0.9, 3000.0), (30.0, 30.0, 10.0))
    seeds = detect([saturated_star(rng, band="r"), observe(sky, rng, band="i")])
    assert len(seeds) == 2
    assert seeds.has(SeedFlag.SATURATED)[0]
    assert separations(seeds, sky)[0, 0] < 0.1


def test_star_hidden_by_saturation_still_gets_a_seed(rng):
    """A saturated patch wider than the PSF: nothing to filter in it, so its middle is the seed."""
    image = observe(Sky.of(), rng)
    rows, columns = np.mgrid[:201, :201]
    saturated = np.hypot(rows - 120, columns - 60) < 14
    seeds = detect(image.replace(saturated=saturated))
    x, y = image.sky_to_pixel(seeds.ra, seeds.dec)
    assert len(seeds) == 1
    assert np.hypot(x[0] - 60, y[0] - 120) < 1.5
    assert seeds.has(SeedFlag.SATURATED | SeedFlag.MASKED)[0]


def test_sources_on_the_edge_are_flagged(rng):
    """Sources one pixel inside each edge, and one in the middle."""
    sky = Sky.of((39.6, 0, 5.0), (-39.6, 0, 5.0), (0, 39.6, 5.0), (0, -39.6, 5.0), (0, 0, 5.0))
    seeds = detect(observe(sky, rng))
    index, east, north = matched(seeds, sky)
    assert len(seeds) == 5
    assert (np.hypot(east, north) < 0.4).all()
    np.testing.assert_array_equal(seeds.has(SeedFlag.EDGE)[index], [True] * 4 + [False])


def test_edge_of_one_exposure_is_no_edge_where_another_goes_on(rng):
    sky = Sky.of((39.6, 0.0, 8.0))
    images = [observe(sky, rng), observe(sky, rng, wcs=astrometry(shift=(30.0, 0.0)))]
    assert not detect(images).has(SeedFlag.EDGE)[0]
    other_band = observe(sky, rng, band="i", wcs=astrometry(shift=(30.0, 0.0)))
    assert detect([images[0], other_band]).has(SeedFlag.EDGE)[0]  # in r every exposure cuts it


def test_neighbours_are_separated(rng):
    """Equal stars 1.8 FWHM apart, and a companion of 2% at 3 FWHM from a bright star."""
    step = FWHM * 0.4
    sky = Sky.of((-20, 0, 10.0), (-20 + 1.8 * step, 0, 10.0), (20, 0, 300.0), (20, 3 * step, 6.0))
    seeds = detect(observe(sky, rng))
    index, east, north = matched(seeds, sky)
    assert len(seeds) == 4
    assert len(set(index)) == 4
    assert (np.hypot(east, north) < 0.4).all()
    assert seeds.flux[index[3], 0] == pytest.approx(6.0, rel=0.5)  # the bright star is taken off roughly


def test_a_large_galaxy_is_one_seed(rng):
    """S/N 300 within the PSF, sigma 4 arcsec, with a star on its outskirts."""
    galaxy, star = (0.0, 0.0, 3000.0, 4.0), (0.0, 12.0, 10.0)
    seeds = detect(observe(Sky.of(galaxy, star), rng, shape=SHAPE, wcs=astrometry(SHAPE)))
    index, east, north = matched(seeds, Sky.of(galaxy, star))
    assert len(seeds) == 2
    assert (np.hypot(east, north) < 0.5).all()


def test_size_hint(rng):
    """Sources of S/N 150 and known width: the half-light radius to 10%, and nearly none for a star."""
    sky = Sky.of((-20, 0, 60.0, 1.0), (0, 0, 40.0, 0.5), (20, 0, 20.0, 0.0))
    seeds = detect(observe(sky, rng))
    index, _, _ = matched(seeds, sky)
    np.testing.assert_allclose(seeds.half_light_radius[index[:2]], 1.1774 * np.array([1.0, 0.5]), rtol=0.1)
    assert seeds.half_light_radius[index[2]] < 0.25


def test_backends_agree(rng):
    pytest.importorskip("photutils")
    sky = Sky.lattice(rng, 55.0, 10.0, 3.0)
    images = several(sky, rng)
    by_sep, by_photutils = detect(images), detect(images, backend="photutils")
    assert len(by_sep) == len(by_photutils) == sky.flux.size
    np.testing.assert_allclose(by_sep.ra, by_photutils.ra, rtol=0, atol=1e-9)
    np.testing.assert_allclose(by_sep.flux, by_photutils.flux, rtol=1e-6)


def test_photutils_finds_nothing_in_silence(rng):
    pytest.importorskip("photutils")
    assert len(detect(observe(Sky.of(), rng), threshold=7.0, backend="photutils")) == 0


def test_missing_photutils_names_the_extra(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "photutils.detection", None)
    with pytest.raises(ImportError, match="extra 'photutils'"):
        detect(observe(Sky.of(), rng), backend="photutils")


def test_order_of_images_does_not_matter(rng):
    """The same seeds whichever image is first: the grid is turned, positions move by a small part of a px."""
    sky = Sky.lattice(rng, 55.0, 12.0, 5.0)
    images = several(sky, rng)
    one, other = detect(images), detect(images[::-1])
    assert len(one) == len(other) == sky.flux.size
    assert separations(one, sky).min(axis=0) == pytest.approx(separations(other, sky).min(axis=0), abs=0.03)
    assert other.bands == ("i", "r", "g")


def test_is_deterministic(rng):
    images = several(Sky.lattice(rng, 55.0, 12.0, 2.0), rng)
    one, other = detect(images), detect(images)
    for name in one.table.colnames:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, "threshold: 0"),
        ({"threshold": np.nan}, "threshold: nan"),
        ({"backend": "sextractor"}, "backend: 'sextractor'"),
        ({"templates": [[1.0, 2.0]]}, "templates: shape"),
    ],
)
def test_bad_arguments_are_named(rng, arguments, message):
    with pytest.raises(ImageError, match=message):
        detect(observe(Sky.of(), rng), **arguments)


@pytest.mark.parametrize("images", [[], [np.zeros((5, 5))], "r"])
def test_images_must_be_images(images):
    with pytest.raises(ImageError, match="images: "):
        detect(images)


def test_a_tiny_image(rng):
    """A stamp too small to measure sky and noise on is taken as it is."""
    sky = Sky.of((0.0, 0.0, 5.0))
    seeds = detect(observe(sky, rng, shape=(25, 25)))
    assert separations(seeds, sky).min() < 0.3
