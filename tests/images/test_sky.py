import numpy as np
import pytest
from astropy.io import fits

from celestepy.images import ImageError, measure_sky
from celestepy.images.sky import interpolate_grid, read_spline_sky


def test_bilinear_functions_are_interpolated_exactly():
    gy, gx = np.mgrid[:6, :9]
    grid = 3.0 + 0.5 * gx - 0.2 * gy + 0.1 * gx * gy
    x, y = np.linspace(0, 8, 33), np.linspace(0, 5, 21)
    expected = 3.0 + 0.5 * x - 0.2 * y[:, None] + 0.1 * x * y[:, None]
    np.testing.assert_allclose(interpolate_grid(grid, x, y), expected, rtol=1e-12)


def test_beyond_the_grid_its_edge_holds():
    grid = np.arange(12.0).reshape(3, 4)
    inside = interpolate_grid(grid, [0, 3], [0, 2])
    np.testing.assert_array_equal(interpolate_grid(grid, [-0.4, 3.4], [-1, 2.5]), inside)


def write_spline(path, **changes):
    x, y = np.arange(-1, 100, 20), np.arange(-1, 160, 20)
    values = 100 + 0.1 * x + 0.02 * y[:, None] + 1e-4 * x * y[:, None]
    columns = {
        "gridvals": (f"{values.size}D", values[None], f"({x.size},{y.size})"),
        "xgrid": (f"{x.size}J", x[None], None),
        "ygrid": (f"{y.size}J", y[None], None),
        "x0": ("J", [30], None),
        "y0": ("J", [50], None),
        "order": ("B", [3], None),
    } | changes
    made = [fits.Column(name, kind, array=array, dim=dim) for name, (kind, array, dim) in columns.items()]
    fits.BinTableHDU.from_columns(made).writeto(path)
    return path


def test_spline_sky_is_evaluated_at_the_cut_out(tmp_path):
    """A cubic spline holds a bilinear function exactly."""
    sky = read_spline_sky(write_spline(tmp_path / "sky.fits"), (40, 25))
    x, y = np.arange(25) + 30, np.arange(40) + 50
    np.testing.assert_allclose(sky, 100 + 0.1 * x + 0.02 * y[:, None] + 1e-4 * x * y[:, None], rtol=1e-10)


def test_other_tables_are_named(tmp_path):
    path = tmp_path / "other.fits"
    fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])]).writeto(path)
    with pytest.raises(ImageError, match=r"other\.fits: not a spline sky table"):
        read_spline_sky(path, (4, 4))


def test_a_sky_with_gradient_and_stars_is_measured():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:300, :200]
    truth = 400 + 0.1 * x - 0.05 * y
    counts = rng.poisson(truth).astype(float)
    for _ in range(40):
        x0, y0 = rng.uniform(0, 200), rng.uniform(0, 300)
        counts += 10 ** rng.uniform(1, 4) * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 2.25)
    counts[0, 0] = np.nan
    mask = np.zeros(counts.shape, bool)
    mask[100:110] = True
    counts[mask] = 1e6
    # noise 20, of which boxes of 4096 pixels keep 0.3; wings of stars add a few; half a box at edges is flat
    np.testing.assert_allclose(measure_sky(counts, mask), truth, atol=6.0)
    assert abs(np.mean(measure_sky(counts, mask) - truth)) < 2.0


def test_small_images_have_one_level():
    sky = measure_sky(np.full((5, 7), 3.5))
    np.testing.assert_array_equal(sky, np.full((5, 7), 3.5))


def test_a_sky_without_pixels_is_refused():
    with pytest.raises(ImageError, match="sky: no pixel"):
        measure_sky(np.ones((5, 5)), np.ones((5, 5)))
