"""Mixtures on disk: identical when read back, written whole or not at all, and without pickle."""

import os
import sys

import numpy as np
import pytest
from astropy.io import fits

from celestepy.density.mixture import GaussianMixture
from celestepy.density.noisy_rows import DensityError


def some_mixture(d=3, names=("x", "g - r", "длина")):
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(4, d, d)) + 2 * np.eye(d)
    return GaussianMixture(rng.dirichlet(np.ones(4)), rng.normal(size=(4, d)), factors @ factors.transpose(0, 2, 1),
                           names and names[:d])


@pytest.fixture(params=[".fits", ".asdf"])
def path(request, tmp_path):
    if request.param == ".asdf":
        pytest.importorskip("asdf", reason="files of the type .asdf need asdf")
    return tmp_path / f"mixture{request.param}"


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("named", [True, False])
def test_identical_when_read_back(path, d, named):
    mixture = some_mixture(d) if named else some_mixture(d, None)
    mixture.save(path)
    found = GaussianMixture.load(path)
    assert found == mixture
    assert found.means.dtype.isnative
    assert os.listdir(path.parent) == [path.name]  # nothing temporary is left


def test_many_long_names(path):
    names = [f"a rather long name of dimension number {k}" for k in range(9)]
    mixture = GaussianMixture([1], np.zeros((1, 9)), np.eye(9)[None], names)
    mixture.save(path)
    assert GaussianMixture.load(path).names == tuple(names)


def test_an_existing_file_is_kept_unless_told(path):
    some_mixture().save(path)
    with pytest.raises(DensityError, match="exists already.*overwrite=True"):
        some_mixture(1).save(path)
    assert GaussianMixture.load(path) == some_mixture()
    some_mixture(1).save(path, overwrite=True)
    assert GaussianMixture.load(path) == some_mixture(1)


def test_a_failure_leaves_the_older_file(path, monkeypatch):
    some_mixture().save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DensityError, match="No space left"):
        some_mixture(1).save(path, overwrite=True)
    monkeypatch.undo()
    assert GaussianMixture.load(path) == some_mixture()
    assert os.listdir(path.parent) == [path.name]


def test_a_damaged_file_is_said(path):
    some_mixture().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DensityError, match=f"{path.name}: holds no readable mixture"):
        GaussianMixture.load(path)


def test_another_fits_file_is_said(tmp_path):
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(path)
    with pytest.raises(DensityError, match="holds no readable mixture"):
        GaussianMixture.load(path)


def test_paths_that_cannot_be(tmp_path):
    mixture = some_mixture()
    refused = {"mixture.pickle": "unknown extension '.pickle'; use one of .fits", "no/mixture.fits": "create"}
    for name, message in refused.items():
        with pytest.raises(DensityError, match=message):
            mixture.save(tmp_path / name)
    with pytest.raises(DensityError, match="no such file"):
        GaussianMixture.load(tmp_path / "nothing.fits")
    (tmp_path / "folder.fits").mkdir()
    with pytest.raises(DensityError, match="is a directory"):
        mixture.save(tmp_path / "folder.fits", overwrite=True)


@pytest.mark.parametrize(("path", "message"), [
    (None, "path: None, expected the name of a file"), (5, "path: 5, expected the name of a file"),
    ("a" * 300 + ".fits", "too long for a file; shorten it"), ("a\0.fits", "expected the name of a file .*null"),
])
def test_names_that_no_file_can_have(path, message):
    with pytest.raises(DensityError, match=message):
        some_mixture().save(path)
    with pytest.raises(DensityError, match=message):
        GaussianMixture.load(path)


def test_the_longest_name_that_a_file_can_have(tmp_path):
    path = tmp_path / ("a" * 250 + ".fits")
    some_mixture().save(path)
    assert GaussianMixture.load(path) == some_mixture()


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "asdf", None)
    with pytest.raises(ImportError, match="install the extra 'asdf'"):
        some_mixture().save(tmp_path / "mixture.asdf")


def test_any_fits_reader_understands_it(tmp_path):
    mixture = some_mixture()
    mixture.save(tmp_path / "mixture.fits")
    with fits.open(tmp_path / "mixture.fits") as hdus:
        table = hdus["MIXTURE"].data
        assert np.array_equal(table["WEIGHT"], mixture.weights)
        assert np.array_equal(table["COVARIANCE"], mixture.covariances)
