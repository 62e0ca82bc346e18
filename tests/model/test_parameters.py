"""The parameter table and the layouts it generates."""

from pathlib import Path

import numpy as np
import pytest

from celestepy.model.parameters import (
    GALAXY,
    KINDS,
    PARAMETERS,
    STAR,
    Bands,
    layout,
    parameter_names,
    parameter_table,
    scene_layout,
)


def test_reference_band():
    assert Bands("ugriz").reference == "r"
    assert Bands("giz").reference == "i"  # no r: the middle one
    assert Bands(("F606W", "F814W")).reference == "F814W"
    assert Bands("ugriz", "g").reference_index == 1


def test_bands_of_is_cached_and_passes_bands_through():
    bands = Bands.of("ugriz")
    assert Bands.of(bands) is bands
    assert Bands.of("ugriz") is bands
    assert Bands.of(bands, "g") == Bands("ugriz", "g")


@pytest.mark.parametrize(("names", "reference", "match"), [
    ("", None, "one or more different names"), ("ugu", None, "different names"), ("ugr", "z", "'z'")])
def test_bad_bands(names, reference, match):
    with pytest.raises(ValueError, match=match):
        Bands(names, reference)


@pytest.mark.parametrize("reference", list("ugriz"))
def test_log_flux_matrix_inverts_colours(reference):
    bands = Bands("ugriz", reference)
    log_fluxes = np.random.default_rng(1).normal(size=5)
    values = np.concatenate([[log_fluxes[bands.reference_index]], np.diff(log_fluxes)])
    # Sums of at most five numbers of order one: rounding only.
    np.testing.assert_allclose(bands.log_flux_matrix @ values, log_fluxes, atol=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        bands.log_flux_matrix[0, 0] = 2.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_bands", [1, 2, 5])
def test_layout_covers_every_entry_once(kind, n_bands):
    at = layout(kind, n_bands)
    index = np.arange(at.size)
    parts = [index[at.position], [at.log_flux], index[at.colors]]
    if kind == GALAXY:
        parts += [[at.log_radius], index[at.ellipticity], [at.logit_dev]]
    assert np.concatenate(parts).tolist() == index.tolist()
    assert at.size == n_bands + (6 if kind == GALAXY else 2)
    assert index[at.log_fluxes].tolist() == list(range(2, n_bands + 2))


def test_scene_layout_covers_every_entry_once():
    at = scene_layout(3)
    index = np.arange(at.size)
    parts = [index[at.fluxes], index[at.position], [at.dev_fraction], index[at.shape]]
    assert np.concatenate(parts).tolist() == index.tolist() == list(range(9))


def test_names():
    assert parameter_names(STAR, "gri") == ("u", "v", "log_flux", "color_gr", "color_ri")
    assert parameter_names(GALAXY, "r") == ("u", "v", "log_flux", "log_radius", "eta1", "eta2", "logit_dev")
    assert parameter_names(GALAXY, "ugriz").index("eta1") == layout(GALAXY, 5).ellipticity.start


def test_unknown_kind():
    with pytest.raises(ValueError, match="'quasar'"):
        layout("quasar", 5)


def test_documentation_shows_the_table():
    page = Path(__file__).parents[2] / "docs" / "user_guide" / "model.rst"
    assert parameter_table() in page.read_text("utf-8")


def test_table_names_are_unique_and_bounds_ordered():
    assert len({parameter.name for parameter in PARAMETERS}) == len(PARAMETERS)
    assert all(parameter.bounds[0] < parameter.bounds[1] for parameter in PARAMETERS)
