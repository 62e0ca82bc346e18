"""Rendering a catalogue: fluxes, places and shapes of the pixels that come out."""

import numpy as np
import pytest

from celestepy.catalog import Catalog, Posterior
from celestepy.catalog.render import render
from celestepy.images import AffineAstrometry, GaussianPSF, Image, PoissonNoise
from celestepy.model.parameters import GALAXY, STAR, layout

SCALE = 0.4  # arcsec per pixel
ANGLE = np.radians(35.0)
JACOBIAN = np.array([[-np.cos(ANGLE), np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]]) / SCALE


def blank(band="r", sky=0.5, shape=(120, 160)):
    wcs = AffineAstrometry(150.0, 2.0, 80, 60, JACOBIAN)
    return Image(
        np.full(shape, sky), band=band, psf=GaussianPSF(fwhm=3.0), wcs=wcs, noise=PoissonNoise(900.0), sky=sky
    )


def one_galaxy(position_angle=30.0, axis_ratio=0.4, log_flux=3.0):
    e, t = -np.log(axis_ratio), np.radians(position_angle)
    shape = [np.log(2.0), e * np.cos(2 * t), e * np.sin(2 * t), -4.0]
    mean = np.array([0.0, 0.0, log_flux, 0.5, *shape])
    components = [
        (0.0, GALAXY, mean, 1e-6 * np.eye(layout(GALAXY, 2).size)),
        (-9.0, STAR, mean[:4], 1e-6 * np.eye(layout(STAR, 2).size)),
    ]
    posterior = Posterior.stack([components], n_bands=2)
    return Catalog.from_posterior(posterior, ra=[150.0], dec=[2.0], bands="gr")


def test_flux_sky_and_place():
    image = blank()
    light = render(one_galaxy(), image) - 0.5
    rows, columns = np.indices(light.shape)
    assert light.sum() == pytest.approx(np.exp(3.0), rel=0.01)  # some light lies beyond the stamp
    assert (light * columns).sum() / light.sum() == pytest.approx(80, abs=0.01)
    assert (light * rows).sum() / light.sum() == pytest.approx(60, abs=0.01)
    blue = render(one_galaxy(), blank("g")) - 0.5
    assert blue.sum() == pytest.approx(np.exp(2.5), rel=0.01)


@pytest.mark.parametrize("position_angle", [0.0, 30.0, 120.0])
def test_shape_lies_along_the_position_angle(position_angle):
    light = render(one_galaxy(position_angle), blank()) - 0.5
    rows, columns = np.indices(light.shape)
    dx, dy = columns - 80, rows - 60
    xx, xy, yy = ((light * moment).sum() for moment in (dx * dx, dx * dy, dy * dy))
    direction = np.linalg.inv(JACOBIAN) @ [
        np.cos(0.5 * np.arctan2(2 * xy, xx - yy)),
        np.sin(0.5 * np.arctan2(2 * xy, xx - yy)),
    ]
    found = np.degrees(np.arctan2(*direction)) % 180  # from North (v) to East (u)
    assert (found - position_angle + 90) % 180 - 90 == pytest.approx(0, abs=0.1)


def test_sources_without_posterior_and_beyond_the_edge_are_left_out(make_catalog):
    made = make_catalog(3)
    made.components[0][1] = -np.inf
    catalog = Catalog.from_posterior(
        Posterior.from_components(*made.components),
        ra=[150.0, 150.0, 151.0],
        dec=[2.0, 2.0, 2.0],
        bands="ugriz",
    )
    light = render(catalog, blank()) - 0.5
    kind = "star" if catalog["star_probability"][0] > 0.5 else "galaxy"
    assert light.sum() == pytest.approx(catalog[f"{kind}_flux_r"].value[0], rel=0.03)


def test_unknown_band_is_named():
    with pytest.raises(ValueError, match="image 'z' is of band 'z', expected one of g, r"):
        render(one_galaxy(), blank("z"))
