"""Pictures: what is in them, where it lies, and what happens when something is missing."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from celestepy.catalog import Catalog, Posterior
from celestepy.catalog.render import render
from celestepy.deblend import AdaProx, Observation, StopRule, deblend_patch
from celestepy.images import AffineAstrometry, GaussianPSF, Image, PoissonNoise
from celestepy.model.parameters import GALAXY, STAR, layout
from celestepy.model.transforms import to_catalog
from celestepy.plot import (
    color_image,
    deblended,
    draw_blends,
    draw_field,
    model_and_residual,
    population,
    posterior,
    pulls,
    star_probability,
)

ANGLE = np.radians(25.0)
JACOBIAN = np.array([[-np.cos(ANGLE), np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]]) / 0.4
SHAPE = (90, 130)


def astrometry(shift=0):
    return AffineAstrometry(150.0, 2.0, 65 + shift, 45 - shift, JACOBIAN)


def field_posterior(rng, n):
    """A star and a galaxy for each source, and the free vectors of a truth drawn from them."""
    sizes = {kind: layout(kind, 3).size for kind in (STAR, GALAXY)}
    sources, truth = [], []
    for _ in range(n):
        center = np.array([0, 0, rng.normal(3, 0.7), 0.6, 0.3, 0.3, *rng.normal(0, 0.5, 2), 0.0])
        p_star = rng.beta(0.5, 0.5)
        sources.append(
            [
                (np.log(p), kind, center[: sizes[kind]], 0.01 * np.eye(sizes[kind]))
                for p, kind in ((p_star, STAR), (1 - p_star, GALAXY))
            ]
        )
        kind = STAR if rng.random() < p_star else GALAXY
        truth.append((kind, center[: sizes[kind]] + 0.1 * rng.standard_normal(sizes[kind])))
    return Posterior.stack(sources, 3), truth


@pytest.fixture(scope="module")
def field():
    """A catalogue, its truth and images of it in three bands."""
    rng, n = np.random.default_rng(4), 40
    mixture, drawn = field_posterior(rng, n)
    ra, dec = astrometry().pixel_to_sky(rng.uniform(8, 122, n), rng.uniform(8, 82, n))
    catalog = Catalog.from_posterior(mixture, ra=ra, dec=dec, bands="gri")
    values = [to_catalog(kind, theta, "gri") | {"is_star": kind == STAR} for kind, theta in drawn]
    truth = {name: np.array([row[name] for row in values]) for name in ("mag_g", "mag_r", "mag_i", "is_star")}
    truth |= {
        "ra": ra + np.array([theta[0] for _, theta in drawn]) / 3600 / np.cos(np.radians(2)),
        "dec": dec + np.array([theta[1] for _, theta in drawn]) / 3600,
    }
    images = []
    for k, band in enumerate("gri"):
        flat = Image(
            np.full(SHAPE, 0.5),
            band=band,
            psf=GaussianPSF(fwhm=3.0),
            wcs=astrometry(k),
            sky=0.5,
            noise=PoissonNoise(900.0),
        )
        mask = np.zeros(SHAPE, dtype=bool)
        mask[20:24, 50:90] = True
        images.append(flat.replace(pixels=rng.poisson(render(catalog, flat) * 900) / 900, mask=mask))
    return catalog, truth, images


def drawn_bytes(figure, tmp_path):
    figure.savefig(tmp_path / "figure.png", dpi=50)
    return (tmp_path / "figure.png").stat().st_size


def test_color_image_marks_every_source_in_place(field, tmp_path):
    catalog, _, images = field
    figure = color_image(images, catalog)
    marks = figure.axes[0].collections[0]
    x, y, _ = images[1].local_affine((catalog["ra"].value, catalog["dec"].value))
    inside = (x > -0.5) & (x < SHAPE[1] - 0.5) & (y > -0.5) & (y < SHAPE[0] - 0.5)
    np.testing.assert_allclose(marks.get_offsets(), np.column_stack([x, y])[inside], atol=1e-9)
    assert f"{inside.sum()} sources" in figure.axes[0].get_title(loc="left")
    pixels = figure.axes[0].images[0].get_array()
    assert pixels.shape == (*SHAPE, 3)
    assert pixels.max() > 200
    assert drawn_bytes(figure, tmp_path) > 5000


def test_color_image_brings_the_bands_together(field):
    """Images offset by pixels: the light of the three planes has one centre."""
    catalog, _, images = field
    light = [
        image.replace(pixels=render(catalog[[0]], image), mask=np.zeros(SHAPE, bool)) for image in images
    ]
    pixels = color_image(light).axes[0].images[0].get_array().astype(float)
    rows, columns = np.indices(SHAPE)
    centres = [((p * columns).sum() / p.sum(), (p * rows).sum() / p.sum()) for p in np.moveaxis(pixels, 2, 0)]
    np.testing.assert_allclose(
        centres, np.broadcast_to(centres[1], (3, 2)), atol=0.6
    )  # pixels; offsets are up to 2


def test_ellipses_lie_along_the_light(field, tmp_path):
    catalog, _, images = field
    longest = int(np.argmin(np.where(catalog["star_probability"] < 0.5, catalog["axis_ratio"], 1)))
    source = catalog[[longest]]
    figure = color_image(images, source)
    drawn_bytes(figure, tmp_path)
    turn = figure.axes[0].collections[0].get_transforms()[0]  # of a circle, into the ellipse on the canvas
    drawn = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
    light = render(source, images[1]) - 0.5
    rows, columns = np.indices(SHAPE)
    x, y = ((light * c).sum() / light.sum() for c in (columns, rows))
    xx, xy, yy = (
        (light * m).sum() for m in ((columns - x) ** 2, (columns - x) * (rows - y), (rows - y) ** 2)
    )
    found = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
    # the catalogue has the median of a broad posterior, the picture its mean: some degrees apart
    assert (drawn - found + 90) % 180 - 90 == pytest.approx(0, abs=5)


def test_color_image_of_one_band_and_a_box(field, tmp_path):
    _, _, images = field
    figure = color_image(images[:1], box=(10, 60, -5, 30))
    assert figure.axes[0].images[0].get_array().shape == (30, 50, 3)
    assert drawn_bytes(figure, tmp_path) > 2000
    with pytest.raises(ValueError, match="holds no pixel of an image of 130 x 90"):
        color_image(images, box=(200, 300, 0, 10))
    with pytest.raises(ValueError, match="images is empty"):
        color_image([])


def test_color_image_of_a_catalogue_without_usable_rows(field):
    catalog, _, images = field
    empty = Catalog.from_posterior(Posterior.stack([[]], 3), ra=[150.0], dec=[2.0], bands="gri")
    assert "0 sources" in color_image(images, empty).axes[0].get_title(loc="left")


def test_residual_of_the_true_model_is_noise(field, tmp_path):
    catalog, _, images = field
    figure = model_and_residual(images, [render(catalog, image) for image in images])
    for k in range(3):
        pull = figure.axes[3 * k + 2].images[0].get_array()
        assert pull.mask.sum() == 4 * 40
        # 11 500 pixels: four standard deviations of the mean square are 4 sqrt(2 / 11500) = .053
        assert np.ma.mean(pull**2) == pytest.approx(1, abs=0.055)
    assert drawn_bytes(figure, tmp_path) > 10_000


def test_residual_shows_what_the_model_lacks(field):
    catalog, _, images = field
    brightest = int(np.argmax(catalog["flux_r"]))
    model = render(catalog[np.arange(len(catalog)) != brightest], images[1])
    pull = model_and_residual(images[1:2], [model]).axes[2].images[0].get_array()
    x, y, _ = images[1].local_affine((catalog["ra"][brightest].value, catalog["dec"][brightest].value))
    peak = np.unravel_index(np.argmax(pull.filled(0)), SHAPE)
    np.testing.assert_allclose(peak, (y, x), atol=1.5)


def test_residual_checks_shapes(field):
    _, _, images = field
    with pytest.raises(
        ValueError, match=r"models have the shapes \[\(3, 3\)\], expected those of the images"
    ):
        model_and_residual(images[:1], [np.zeros((3, 3))])


def test_star_probability(field, tmp_path):
    catalog, truth, _ = field
    figure = star_probability(catalog, truth)
    left, right = figure.axes
    assert left.get_title(loc="left") == "40 matched sources"
    counts = [int(text.get_text()) for text in left.texts]
    assert sum(counts) == 40
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        f"{truth['is_star'].sum()} stars",
        f"{(~truth['is_star']).sum()} galaxies",
    ]
    assert drawn_bytes(figure, tmp_path) > 5000
    with pytest.raises(ValueError, match="no matched source has is_star"):
        star_probability(catalog, {name: truth[name] for name in ("ra", "dec")})


def test_pulls(field, tmp_path):
    catalog, truth, _ = field
    figure = pulls(catalog, truth)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "mag_r",
        "color_gr",
        "color_ri",
        "ra",
        "dec",
    ]
    assert drawn_bytes(figure, tmp_path) > 5000
    figure = pulls(catalog, truth, names=["axis_ratio"])  # which this truth does not have
    assert figure.axes[0].texts[0].get_text() == "0 sources"
    with pytest.raises(ValueError, match="names has 'mag_x', expected some of position, ra"):
        pulls(catalog, truth, names=["mag_x"])


def test_posterior(field, tmp_path):
    catalog, _, _ = field
    uncertain = int(np.argmin(np.abs(catalog["star_probability"] - 0.5)))
    figure = posterior(catalog, uncertain)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["mag_r", "mag_r", "color_gr", "half_light_radius", "position_angle", "dev_fraction"]
    assert "star with probability" in figure.get_suptitle()
    assert drawn_bytes(figure, tmp_path) > 5000
    failed = Catalog.from_posterior(Posterior.stack([[]], 3), ra=[1.0], dec=[2.0], bands="gri")
    with pytest.raises(ValueError, match="row 0 has no posterior: no finite fit"):
        posterior(failed, 0)


def test_population_counts_every_source(field, tmp_path):
    """The histograms are of probabilities: together they hold each source once, outliers aside."""
    catalog, _, _ = field
    figure = population(catalog)
    counts, colors, two_colors = figure.axes
    bars = [path.get_path().vertices[:, 1] for path in counts.patches]
    assert sum(heights.max() for heights in bars) > 5
    labels = [text.get_text() for text in counts.get_legend().get_texts()]
    assert sum(int(label.split()[0]) for label in labels) == pytest.approx(len(catalog), abs=1)
    assert (colors.get_xlabel(), colors.get_ylabel()) == ("r [mag]", "g \N{MINUS SIGN} r [mag]")
    assert two_colors.get_ylabel() == "r \N{MINUS SIGN} i [mag]"
    assert drawn_bytes(figure, tmp_path) > 5000


def test_population_of_nothing(field, tmp_path):
    catalog, _, _ = field
    assert drawn_bytes(population(catalog[:0]), tmp_path) > 1000


@pytest.fixture
def boxes(monkeypatch):
    """What parts of the images are drawn, with the figures."""
    seen = []

    def draw(*arguments, box):
        seen.append((box, model_and_residual(*arguments, box=box)))
        return seen[-1][1]

    monkeypatch.setitem(draw_field.__globals__, "model_and_residual", draw)
    return seen


def test_residual_of_a_large_image_is_that_of_its_middle(field, tmp_path, monkeypatch, boxes):
    catalog, _, images = field
    monkeypatch.setitem(draw_field.__globals__, "_LARGEST", 50)
    draw_field(images, catalog, tmp_path)
    assert [box for box, _ in boxes] == [(40, 90, 20, 70)]


def test_residual_is_that_of_the_sources_of_a_list(field, tmp_path, monkeypatch, boxes):
    """One source: the pixels around it, and a line that tells whose light is in the model."""
    catalog, _, images = field
    monkeypatch.setitem(draw_field.__globals__, "_MARGIN", 10)
    x, y, _ = images[0].local_affine((catalog["ra"].value, catalog["dec"].value))
    inside = (x > 12) & (x < SHAPE[1] - 13) & (y > 12) & (y < SHAPE[0] - 13)
    k = int(np.flatnonzero(inside)[0])
    draw_field(images, catalog[[k]], tmp_path)
    ((x0, x1, y0, y1), figure) = boxes[0]
    assert (0.5 * (x0 + x1 - 1), 0.5 * (y0 + y1 - 1)) == pytest.approx((x[k], y[k]), abs=1.1)
    assert (x1 - x0, y1 - y0) == pytest.approx((21, 21), abs=1)
    assert "sources in the model: 1\n" in figure.get_suptitle()


def test_nothing_is_drawn_over_the_sources(field):
    """The compass and the scale are lines and letters: nothing with an area."""
    catalog, _, images = field
    axes = color_image(images, catalog).axes[0]
    assert all(line.get_marker() == "None" for line in axes.lines)


def test_draw_field(field, tmp_path):
    catalog, truth, images = field
    assert [path.name for path in draw_field(images, catalog, tmp_path)] == [
        "color.png",
        "residual.png",
        "population.png",
    ]
    paths = draw_field([*images, images[0]], catalog, tmp_path, truth)
    assert {path.stem for path in paths} == {"color", "residual", "population", "star_probability", "pulls"}
    assert all(path.stat().st_size > 5000 for path in paths)


class TestDeblended:
    @pytest.fixture(scope="class")
    @classmethod
    def models(cls):
        """Two sources, the second twice as red; a corner is masked."""
        y, x = np.mgrid[:30, :44]
        shapes = [np.exp(-0.5 * ((y - 15) ** 2 + (x - column) ** 2) / 4) for column in (15, 27)]
        images = np.array([[100, 50], [100, 100], [100, 100]]) @ np.reshape(shapes, (2, -1))
        images = images.reshape(3, 30, 44) + np.random.default_rng(1).normal(size=(3, 30, 44))
        psf = np.exp(-0.5 * np.hypot(*np.mgrid[-6:7, -6:7]) ** 2 / 2)
        mask = (x < 12) & (y < 8)
        observation = Observation.from_arrays(images, variance=1.0, psfs=psf, bands=tuple("gri"), mask=mask)
        method = AdaProx(stop=StopRule(max_iterations=40))
        return deblend_patch(observation, [[15, 15], [15, 27]], method=method)

    def test_panels(self, models, tmp_path):
        figure = deblended(models)
        pictures = [axes for axes in figure.axes if axes.images]
        titles = [axes.get_title() for axes in pictures]
        assert titles[:3] == ["data", "all models", "residual, \u00b15 sd"]
        assert sorted(titles[3:]) == ["data \u2212 others"] * 2 + ["source 0", "source 1"]
        figure.savefig(tmp_path / "blend.png")

    def test_each_source_is_alone_in_its_panel(self, models):
        panels = {axes.get_title(): axes.images[0].get_array() for axes in deblended(models).axes if axes.images}
        left, right = (panels[f"source {k}"].astype(float).sum(axis=(0, 2)) for k in (0, 1))
        assert abs(left.argmax() - right.argmax()) == 12
        assert left[right.argmax()] < 0.3 * left.max()
        red, _, blue = np.moveaxis(panels["source 1"].astype(float), -1, 0).sum(axis=(1, 2))
        assert red > blue

    def test_the_residual_is_in_units_of_its_noise_and_masked_pixels_are_left_out(self, models):
        panels = {axes.get_title(): axes.images[0].get_array() for axes in deblended(models).axes if axes.images}
        residual = np.ma.masked_invalid(panels["residual, \u00b15 sd"])
        assert 1.4826 * np.ma.median(np.abs(residual)) == pytest.approx(1, abs=0.1)
        masked = residual.mask
        assert masked.any()
        assert (panels["data"][masked] == 110).all()

    def test_one_band(self, models):
        from celestepy.deblend import FieldModels, ModelImage

        own = [(ModelImage((0,), m.x0, m.y0, m.pixels[:1], m.header),) for (m,) in models.models]
        single = FieldModels(models.table, own, models.residuals[:1])
        assert deblended(single).get_suptitle() == "blend 0: 2 sources, g"

    def test_bands_with_pixels_of_their_own_are_shown_by_the_best_of_them(self, models):
        """As of surveys whose bands are not aligned."""
        from celestepy.deblend import FieldModels, ModelImage

        apart = [tuple(ModelImage((k,), m.x0, m.y0, m.pixels[k : k + 1], m.header) for k in range(3))
                 for (m,) in models.models]
        table = models.table.copy()
        for band, significance in {"g": [2, 7], "r": [20, np.nan], "i": [6, 9]}.items():
            table[f"flux_{band}"], table[f"flux_{band}_err"] = np.array(significance) * 3.0, 3.0
        assert deblended(FieldModels(table, apart, models.residuals)).get_suptitle() == "blend 0: 2 sources, r"
        second = FieldModels(table[1:], apart[1:], models.residuals)
        assert deblended(second).get_suptitle() == "blend 0: 1 source, i"

    def test_a_neighbour_that_some_bands_do_not_see(self, models):
        """It is of another blend, beyond the edge of the r band."""
        from celestepy.deblend import FieldModels, ModelImage

        (one,), (other,) = models.models
        other = ModelImage((0, 2), other.x0, other.y0, other.pixels[[0, 2]], other.header)
        table = models.table.copy()
        table["blend"] = [0, 1]
        figure = deblended(FieldModels(table, [(one,), (other,)], models.residuals))
        assert figure.get_suptitle() == "blend 0: 1 source, g, r, i"

    def test_blends_that_are_not_there(self, models):
        with pytest.raises(ValueError, match="blend: 7 has no source with a model"):
            deblended(models, 7)

    def test_draw_blends(self, models, tmp_path):
        assert draw_blends(models, tmp_path) == [tmp_path / "blend_0.png"]
        assert (tmp_path / "blend_0.png").stat().st_size > 5000


def test_missing_matplotlib_is_named(field, monkeypatch):
    catalog, truth, images = field
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (lambda: color_image(images), lambda: pulls(catalog, truth), lambda: posterior(catalog, 0)):
        with pytest.raises(ImportError, match="extra 'plot'"):
            draw()


def test_no_window_system_is_loaded():
    program = "import celestepy.plot, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
