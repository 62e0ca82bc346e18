"""Real blends of HSC, and a simulated one with unequal PSFs whose sources are known."""

import numpy as np
import pytest

from celestepy.deblend.adaprox import AdaProx
from celestepy.deblend.asinh_adam import AsinhAdam
from celestepy.deblend.blend_files import read_blend
from celestepy.deblend.constraints import Monotonic, NonNegative
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.observation import Observation
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scores import flux_error, morphology_correlation, sed_correlation
from celestepy.deblend.starts import start_scene

SWEEP = (Monotonic("sweep"), NonNegative())
# chi^2 per pixel after 200 iterations, with a margin: symmetry costs much in bright galaxies
SMALL = {"43158172147388676": (3.5, 1.1), "43158172147391235": (1.1, 1.05), "hsc_cosmos_35": (45.0, 1.5)}
LARGE = ("43158172147384792", "43158172147386926", "43158172147389779", "43158172147390151", "43158172147390622")


def fitted(path, method):
    observation, peaks = read_blend(path)
    return method.fit(start_scene(Frame(observation), peaks))


@pytest.mark.parametrize("name", SMALL)
def test_small_blends(data_dir, name):
    for method, limit in zip((AdaProx(), AsinhAdam(constraints=SWEEP)), SMALL[name], strict=True):
        result = fitted(data_dir / "hsc_blends" / f"{name}.npz", method)
        assert result.scene.chi2() / result.scene.n_pixels < limit
        assert (result.fluxes >= 0).all()
        assert set(result.statuses) <= {"ok", "no flux"}


@pytest.mark.validation
@pytest.mark.parametrize("name", LARGE)
def test_large_blends(data_dir, name):
    observation, peaks = read_blend(data_dir / "hsc_blends" / f"{name}.npz")
    start = start_scene(Frame(observation), peaks)
    result = AdaProx().fit(start)
    assert result.scene.chi2() < start.chi2()
    assert (result.fluxes >= 0).all()


def test_simulated_scene_with_truth(data_dir):
    """Five sources, three of them stars that are told; the galaxy under a star is the hard one."""
    with np.load(data_dir / "hsc_blends" / "psf_unmatched_sim.npz") as stored:
        catalog, images, psfs, bands = (stored[name] for name in ("catalog", "images", "psfs", "filters"))
    truth = np.zeros((5, 6, 40, 59))
    for row in catalog:  # bulge and disc are rows of one source
        truth[row["index"]] += [row[f"intensity_{band}"] for band in bands]
    first = [np.flatnonzero(catalog["index"] == k)[0] for k in range(5)]
    peaks = np.stack([catalog["y"][first], catalog["x"][first]], axis=1)
    kinds = ["point" if star else "free" for star in catalog["is_star"][first]]
    observation = Observation.from_arrays(images, variance=10 + np.maximum(images, 0), psfs=psfs, bands=bands)
    result = AdaProx(solve_fluxes=True).fit(start_scene(Frame(observation), peaks, kinds=kinds))
    found = result.scene.render_sources()[0]
    bright = [2, 3, 4]
    assert np.abs(flux_error(found, truth))[bright].max() < 0.1
    assert morphology_correlation(found, truth)[bright].min() > 0.98
    assert sed_correlation(found, truth)[bright].min() > 0.999


class TestFiles:
    @pytest.fixture
    def arrays(self):
        return {
            "images": np.ones((5, 9, 7)), "psfs": np.ones((5, 3, 3)), "variance": np.ones((5, 9, 7)),
            "peaks": [[2.0, 5.0]], "mask": np.eye(9, 7, dtype=int) * np.ones((5, 1, 1), int) * 6,
        }

    def test_peaks_are_x_y_in_the_file(self, tmp_path, arrays):
        np.savez(tmp_path / "blend.npz", **arrays)
        observation, peaks = read_blend(tmp_path / "blend.npz")
        assert peaks.tolist() == [[5.0, 2.0]]
        assert observation.bands == tuple("grizy")
        assert observation.n_used.tolist() == [63] * 5

    def test_bad_bits(self, tmp_path, arrays):
        np.savez(tmp_path / "blend.npz", **arrays)
        assert read_blend(tmp_path / "blend.npz", bad_bits=4)[0].n_used.tolist() == [56] * 5
        assert read_blend(tmp_path / "blend.npz", bad_bits=8)[0].n_used.tolist() == [63] * 5

    @pytest.mark.parametrize("name", ["images", "psfs", "variance", "peaks"])
    def test_missing_arrays(self, tmp_path, arrays, name):
        del arrays[name]
        np.savez(tmp_path / "blend.npz", **arrays)
        with pytest.raises(DeblendError, match=name):
            read_blend(tmp_path / "blend.npz")

    def test_no_archive(self, tmp_path):
        (tmp_path / "blend.npz").write_text("nothing")
        for name in ("blend.npz", "absent.npz"):
            with pytest.raises(DeblendError, match="NumPy archive"):
                read_blend(tmp_path / name)
