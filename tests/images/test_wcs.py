import pickle
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from celestepy.images import AffineAstrometry, FITSAstrometry, Image, ImageError
from celestepy.images.hdus import header_wcs
from celestepy.images.wcs import as_astrometry, from_tangent_offsets, sky_coordinates, tangent_offsets

RA, DEC, SCALE = 150.0, 32.0, 0.4 / 3600


def header(rotation=0.0, flip=False, kind="TAN", ra=RA, dec=DEC, axes=("RA--", "DEC-")):
    """A WCS header with reference pixel (x, y) = (49, 29), 0-based."""
    angle = np.radians(rotation)
    matrix = SCALE * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = matrix @ np.diag([1.0 if flip else -1.0, 1.0])
    made = fits.Header()
    for axis, (name, value, pixel) in enumerate(zip(axes, (ra, dec), (50, 30), strict=True), start=1):
        made[f"CTYPE{axis}"] = f"{name:-<4s}-{kind}"
        made[f"CRVAL{axis}"], made[f"CRPIX{axis}"], made[f"CUNIT{axis}"] = value, pixel, "deg"
        for other in (1, 2):
            made[f"CD{axis}_{other}"] = matrix[axis - 1, other - 1]
    return made


def sip_header():
    made = header(20.0)
    for axis in (1, 2):
        made[f"CTYPE{axis}"] += "-SIP"
    made["A_ORDER"], made["B_ORDER"] = 2, 2
    made["A_2_0"], made["A_1_1"], made["B_0_2"] = 2e-5, -1e-5, 3e-5
    return made


def tpv_header():
    made = header(-35.0, kind="TPV")
    made["PV1_0"], made["PV1_1"], made["PV1_2"], made["PV1_4"], made["PV1_7"] = 1e-6, 1.001, 1e-4, 0.3, 5.0
    made["PV2_0"], made["PV2_1"], made["PV2_6"] = -1e-6, 0.999, 0.4
    return made


HEADERS = {
    "north up": header(),
    "rotated": header(77.0),
    "flipped": header(30.0, flip=True),
    "upside down": header(180.0),
    "pole": header(10.0, dec=89.95),
    "meridian": header(10.0, ra=0.0001),
    "south": header(5.0, dec=-70.0),
    "SIP": sip_header(),
    "TPV": tpv_header(),
    "galactic": header(10.0, axes=("GLON", "GLAT"), ra=120.0, dec=40.0),
    "SIN": header(10.0, kind="SIN"),
    "CAR": header(10.0, kind="CAR", dec=5.0),
}


@pytest.fixture(params=HEADERS.values(), ids=HEADERS)
def wcs(request):
    return WCS(request.param)


X, Y = np.meshgrid([0.0, 10.3, 49.0, 80.0], [0.0, 29.0, 55.5])


def test_pixels_agree_with_astropy(wcs):
    astrometry = as_astrometry(wcs)
    coord = wcs.pixel_to_world(X, Y).icrs
    ra, dec = astrometry.pixel_to_sky(X, Y)
    # 1e-7 arcsec: round-off in degrees
    assert SkyCoord(ra, dec, unit="deg").separation(coord).to_value("arcsec").max() < 1e-7
    x, y = astrometry.sky_to_pixel(coord.ra.deg, coord.dec.deg)
    # astropy inverts distortions to 1e-4 pixel by its own tolerance
    np.testing.assert_allclose(x, X, atol=1e-4)
    np.testing.assert_allclose(y, Y, atol=1e-4)


def test_the_affine_form_moves_with_the_sky(wcs):
    """Ten pixels away, the linear form holds to the curvature of the distortion, a fraction of 1e-2 pixel."""
    astrometry = as_astrometry(wcs)
    coord = wcs.pixel_to_world(X.ravel(), Y.ravel()).icrs
    x, y, jacobian = astrometry.local_affine(coord.ra.deg, coord.dec.deg)
    for east, north in ((0.1, 0.0), (0.0, 0.1), (-2.0, 3.0)):
        moved = coord.skyoffset_frame()
        there = SkyCoord(east * u.arcsec, north * u.arcsec, frame=moved).icrs
        dx, dy = np.einsum("nij,j->ni", jacobian, [east, north]).T
        actual = np.array(astrometry.sky_to_pixel(there.ra.deg, there.dec.deg))
        np.testing.assert_allclose([x + dx, y + dy], actual, atol=0.02 if abs(north) > 1 else 2e-4)


def test_scalars_give_scalars(wcs):
    coord = wcs.pixel_to_world(12.0, 34.0).icrs
    x, y, jacobian = as_astrometry(wcs).local_affine(coord.ra.deg, coord.dec.deg)
    assert isinstance(x, float)
    np.testing.assert_allclose((x, y), (12, 34), atol=1e-4)
    assert jacobian.shape == (2, 2)


def test_orientation_of_north_up_east_left():
    x, y, jacobian = as_astrometry(WCS(header())).local_affine(RA, DEC)
    np.testing.assert_allclose((x, y), (49, 29), atol=1e-9)
    np.testing.assert_allclose(jacobian, [[-2.5, 0], [0, 2.5]], atol=1e-6)


def test_a_third_axis_is_dropped():
    made = header()
    made["WCSAXES"] = 3
    made["CTYPE3"], made["CRVAL3"], made["CRPIX3"], made["CDELT3"], made["CD3_3"] = (
        "WAVE",
        5e-7,
        1,
        1e-9,
        1e-9,
    )
    x, y = as_astrometry(WCS(made)).sky_to_pixel(RA, DEC)
    np.testing.assert_allclose((x, y), (49, 29), atol=1e-9)


def test_swapped_axes_are_put_right():
    made = header()
    for key in ("CTYPE", "CRVAL"):
        made[f"{key}1"], made[f"{key}2"] = made[f"{key}2"], made[f"{key}1"]
    coord = WCS(made).pixel_to_world(10.0, 20.0)
    x, y = as_astrometry(WCS(made)).sky_to_pixel(coord.ra.deg, coord.dec.deg)
    np.testing.assert_allclose((x, y), (10, 20), atol=1e-6)


@pytest.mark.parametrize(
    "bad", [WCS(naxis=2), WCS(fits.Header({"CTYPE1": "WAVE", "CTYPE2": "OFFSET"})), None, 3.0], ids=str
)
def test_what_is_not_celestial_is_refused(bad):
    with pytest.raises(ImageError, match=r"wcs: .*expected") as caught:
        as_astrometry(bad)
    assert "\n" not in str(caught.value)


def test_a_singular_matrix_is_refused():
    made = header()
    made["CD2_1"], made["CD2_2"] = made["CD1_1"], made["CD1_2"]
    with pytest.raises(ImageError, match="wcs: (unusable|its matrix cannot be inverted)"):
        as_astrometry(header_wcs(made, "there.fits"))


def test_threads_agree_with_one_thread():
    """Wcslib changes its structure while it transforms; without a lock this gives wrong or NaN positions."""
    astrometry = as_astrometry(WCS(tpv_header()))
    x, y = np.random.default_rng(4).uniform(0, 60, (2, 500))
    expected = astrometry.pixel_to_sky(x, y)

    def there_and_back(_):
        ra, dec = astrometry.pixel_to_sky(x, y)
        astrometry.sky_to_pixel(ra, dec)
        return ra, dec

    with ThreadPoolExecutor(4) as executor:
        for result in executor.map(there_and_back, range(40)):
            np.testing.assert_array_equal(result, expected)


def test_tangent_offsets_agree_with_astropy_and_invert():
    centre = SkyCoord(10.0 * u.deg, 60.0 * u.deg)
    rng = np.random.default_rng(6)
    ra, dec = 10.0 + rng.uniform(-0.01, 0.01, 20), 60.0 + rng.uniform(-0.01, 0.01, 20)
    offset = SkyCoord(ra, dec, unit="deg").transform_to(centre.skyoffset_frame())
    east, north = tangent_offsets(ra, dec, 10.0, 60.0)
    gnomonic = (
        np.tan(offset.lon.rad) * 206264.80625,
        np.tan(offset.lat.rad) / np.cos(offset.lon.rad) * 206264.80625,
    )
    np.testing.assert_allclose([east, north], gnomonic, atol=1e-8)
    np.testing.assert_allclose(from_tangent_offsets(east, north, 10.0, 60.0), [ra, dec], rtol=1e-14)


def test_tiny_offsets_keep_their_digits():
    east, north = tangent_offsets(150.0, 32.0 + 1e-9, 150.0, 32.0)
    # 1e-9 degrees is 3.6 micro-arcsec; declinations carry 7e-15 degrees
    np.testing.assert_allclose((east, north), (0.0, 3.6e-6), rtol=1e-4)


def test_affine_astrometry_is_linear_and_inverts():
    matrix = [[-2.0, 0.5], [0.3, 1.7]]
    astrometry = AffineAstrometry(RA, DEC, 5.0, 7.0, matrix)
    x, y, jacobian = astrometry.local_affine(RA, DEC)
    np.testing.assert_allclose((x, y), (5, 7), atol=1e-12)
    np.testing.assert_allclose(jacobian, matrix, rtol=1e-8)
    back = astrometry.sky_to_pixel(*astrometry.pixel_to_sky(X, Y))
    np.testing.assert_allclose(back, [X, Y], atol=1e-9)


@pytest.mark.parametrize("matrix", [np.zeros((2, 2)), np.ones((2, 2)), np.eye(3), [[np.nan, 0], [0, 1]]])
def test_affine_astrometry_needs_an_invertible_matrix(matrix):
    with pytest.raises(ImageError, match="jacobian"):
        AffineAstrometry(RA, DEC, 0, 0, matrix)


def test_images_take_skycoord_pairs_and_quantities(arguments):
    image = Image(np.ones((20, 40)), **arguments | {"wcs": WCS(header())})
    coord = SkyCoord(RA, DEC, unit="deg")
    for position in (coord, (RA, DEC), (RA * u.deg, DEC * 60 * u.arcmin), coord.galactic):
        x, y, _ = image.local_affine(position)
        np.testing.assert_allclose((x, y), (49, 29), atol=1e-6)
    with pytest.raises(ImageError, match="coord"):
        sky_coordinates(5.0)


def test_astrometry_survives_a_pickle(wcs):
    astrometry = as_astrometry(wcs)
    other = pickle.loads(pickle.dumps(astrometry))
    assert isinstance(other, FITSAstrometry)
    # astropy pickles a WCS as a header, whose numbers have 12 to 16 digits
    np.testing.assert_allclose(other.pixel_to_sky(X, Y), astrometry.pixel_to_sky(X, Y), rtol=1e-12)
