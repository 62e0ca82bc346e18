"""Whole fields: what comes out of `deblend_field` and `deblend_patch`, and their files."""

import logging
import re

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from deblend.field_models import QUICK, same
from deblend.simple_priors import GaussianPrior, ScorePrior
from deblend.small_scenes import blank, observed, random_scene

from celestepy.deblend import (
    METHODS,
    AsinhAdam,
    DeblendError,
    ForwardBackward,
    Grid,
    Observation,
    StopRule,
    deblend_field,
    deblend_patch,
    field,
    method_for,
    method_named,
    read_models,
)
from celestepy.deblend.methods import PRIORS
from celestepy.images import GaussianPSF, Image, PoissonNoise
from celestepy.images.wcs import AffineAstrometry
from celestepy.model.parameters import GALAXY, STAR
from celestepy.model.source import Source
from celestepy.pipeline import make_catalog
from celestepy.simulate import simulate_field


def sources_of(sky):
    """What the sky was drawn from, to be observed again."""
    rows = [{name: float(getattr(row[name], "value", row[name])) for name in row.colnames} for row in sky.truth]
    kinds = np.where(sky.truth["is_star"], STAR, GALAXY)
    return [Source.from_catalog(str(kind), tuple("gri"), **row) for kind, row in zip(kinds, rows, strict=True)]


class TestFields:
    def test_a_row_for_each_source_in_the_order_of_the_table(self, sky, models):
        table = models.table
        assert table["row"].tolist() == list(range(9))
        assert table["ra"].unit == u.deg
        assert table["flux_r"].unit == table["flux_r_err"].unit == u.nmgy
        np.testing.assert_array_equal(table["ra"], sky.truth["ra"])
        x, y = sky.images[0].sky_to_pixel(sky.truth["ra"].value, sky.truth["dec"].value)
        np.testing.assert_allclose(np.stack([table["x"], table["y"]]), [x, y])
        assert set(table["status"]) == {"ok"}
        assert table.colnames[-2:] == ["status", "message"]

    def test_fluxes_are_those_of_the_truth(self, sky, models):
        """Within 50%: constraints are no exact model, and the faintest source has an S/N of 20."""
        ratio = models.table["flux_r"] / sky.truth["flux_r"]
        assert np.median(np.abs(ratio - 1)) < 0.15
        assert np.abs(ratio - 1).max() < 0.5

    def test_data_are_models_and_residual(self, sky, models):
        for k, image in enumerate(sky.images):
            total = models.residuals[k].pixels.astype(float)
            for source in range(len(models)):
                pixels, x0, y0 = models.model(source, k)
                total[y0 : y0 + pixels.shape[0], x0 : x0 + pixels.shape[1]] += pixels
            # what lies outside of a box is less than 1e-6 of the flux, and pixels are float32
            np.testing.assert_allclose(total, image.pixels - image.sky, atol=1e-4 * np.abs(total).max())

    def test_the_flux_is_that_of_the_image(self, models):
        """But for the light beyond the box: the morphology is normalised within it, and the PSF carries some out."""
        for k in range(len(models)):
            assert models.model(k, "r")[0].sum() == pytest.approx(models.table["flux_r"][k].value, rel=0.03)

    def test_the_wcs_leads_to_the_source(self, models):
        for k in range(len(models)):
            pixels, x0, y0 = models.model(k, "i")
            x, y = models.wcs(k, "i").world_to_pixel_values(models.table["ra"][k].value, models.table["dec"][k].value)
            assert (x + x0, y + y0) == pytest.approx((models.table["x"][k], models.table["y"][k]), abs=0.01)
            row, column = np.unravel_index(pixels.argmax(), pixels.shape)
            assert np.hypot(row - y, column - x) < 2

    def test_cleaned_is_the_data_without_the_others(self, sky, models):
        data = np.array(sky.images[0].pixels - sky.images[0].sky)
        for source in range(1, len(models)):
            pixels, x0, y0 = models.model(source, "g")
            data[y0 : y0 + pixels.shape[0], x0 : x0 + pixels.shape[1]] -= pixels
        cleaned = models.cleaned(0, "g")
        _, x0, y0 = models.model(0, "g")
        expected = data[y0 : y0 + cleaned.shape[0], x0 : x0 + cleaned.shape[1]]
        np.testing.assert_allclose(cleaned, expected, atol=1e-4 * data.max())

    @pytest.mark.parametrize("n_jobs", [2, 3])
    def test_the_same_for_any_number_of_workers(self, sky, models, n_jobs):
        assert same(models, deblend_field(sky.images, sky.truth, method=QUICK, rng=3, n_jobs=n_jobs))

    def test_metadata(self, models):
        meta = models.table.meta
        assert (meta["method"], meta["seed"], meta["inputs"]) == ("AdaProx", 3, ["g", "r", "i"])
        assert "max_iterations=15" in meta["settings"]["stop"]
        assert {"celestepy_version", "created"} <= set(meta)
        assert "9 sources" in models.summary
        assert "by the method AdaProx" in models.summary
        assert "9 sources in the bands g, r, i" in repr(models)

    def test_a_part_of_a_field(self, sky, models):
        place = sky.truth["ra"][4].value, sky.truth["dec"][4].value
        part = deblend_field(sky.images, sky.truth, method=QUICK, position=place, size=4)
        (row,) = part.table
        assert row["row"] == 4
        assert row["flux_r"] == models.table["flux_r"][4]
        residual = part.residuals[0]
        assert residual.pixels.size < 0.5 * sky.images[0].pixels.size
        pixels, x0, y0 = part.model(0, "g")
        np.testing.assert_array_equal(pixels, models.model(4, "g")[0])
        assert residual.x0 <= x0
        assert residual.y0 <= y0
        assert x0 + pixels.shape[1] <= residual.x0 + residual.pixels.shape[1]
        assert part.cleaned(0, "g").shape == pixels.shape

    def test_light_of_sources_that_were_not_asked_for_is_taken_away_too(self, sky, models):
        """Of two that overlap, each a blend of its own, one is asked for: at the other's place nothing is left."""
        asked, other = np.flatnonzero(models.table["n_blend"] == 2)
        place = sky.truth["ra"][asked].value, sky.truth["dec"][asked].value
        part = deblend_field(sky.images, sky.truth, method=QUICK, position=place, size=0.5, largest_blend=1)
        assert part.table["row"].tolist() == [asked]
        residual = part.residuals[1]
        x, y = (int(round(models.table[name][other])) for name in ("x", "y"))
        data = (sky.images[1].pixels - sky.images[1].sky)[y - 1 : y + 2, x - 1 : x + 2].sum()
        y, x = y - residual.y0, x - residual.x0
        assert abs(residual.pixels[y - 1 : y + 2, x - 1 : x + 2].sum()) < 0.3 * data

    def test_sources_are_detected_by_default(self, sky):
        found = deblend_field(sky.images, method=QUICK, threshold=15)
        assert 5 <= len(found) <= 9

    def test_a_catalogue_tells_stars(self, sky):
        catalog = make_catalog(sky.images).catalog
        kinds = deblend_field(sky.images, catalog, method=QUICK).table["kind"]
        is_star = np.asarray(catalog["star_probability"]) > 0.5
        assert np.array_equal(np.asarray(kinds) == "point", is_star)
        assert 0 < is_star.sum() < len(is_star)

    def test_a_prior_brings_its_pixels(self, sky):
        """Pixels of half the size, and boxes no larger than its stamps."""
        prior = ScorePrior(shape=(21, 21), pixel_scale=0.198)
        method = AsinhAdam(prior=prior, stop=StopRule(max_iterations=10))
        place = sky.truth["ra"][4].value, sky.truth["dec"][4].value
        result = deblend_field(sky.images, sky.truth, method=method, position=place, size=4)
        assert set(result.table["status"]) == {"ok"}
        assert 0 < result.table["data_share"][0] < 1
        flux = sky.truth["flux_r"][4].value
        assert result.table["flux_r"][0].value == pytest.approx(flux, rel=0.5)

    def test_several_resolutions(self, sky, models):
        """The same sky in coarser pixels too: the models are in the pixels of each image."""
        coarse = simulate_field(sources=sources_of(sky), bands="gri", shape=(75, 70), pixel_scale=0.792, rng=9)
        result = deblend_field(sky.images + coarse.images, sky.truth, method=QUICK)
        assert [len(own) for own in result.models] == [2] * 9
        assert [residual.pixels.shape for residual in result.residuals] == [(150, 140)] * 3 + [(75, 70)] * 3
        for k in range(9):
            fine, coarser = (result.model(k, number)[0].sum() for number in (1, 4))
            assert fine == pytest.approx(coarser, rel=0.05)
            x, y = result.wcs(k, 4).world_to_pixel_values(result.table["ra"][k].value, result.table["dec"][k].value)
            pixels = result.model(k, 4)[0]
            row, column = np.unravel_index(pixels.argmax(), pixels.shape)
            assert np.hypot(row - y, column - x) < 1.5

    def test_pixel_scales_choose_the_method(self, sky):
        place = {"position": (sky.truth["ra"][1].value, sky.truth["dec"][1].value), "size": 3}
        assert deblend_field(sky.images, sky.truth, **place).table.meta["method"] == "galaxies"


class TestTroubles:
    """One bad source, or blend, never ends a run."""

    def test_a_blend_that_fails(self, sky, models, monkeypatch, caplog):
        work, seen = field.fit_blend, []

        def fit_blend(cutouts, *arguments):
            seen.append(cutouts)
            if len(seen) == 3:
                raise RuntimeError("no\nluck")
            return work(cutouts, *arguments)

        monkeypatch.setattr(field, "fit_blend", fit_blend)
        with caplog.at_level(logging.INFO, "celestepy.deblend"):
            result = deblend_field(sky.images, sky.truth, method=QUICK, rng=3)
        bad = np.asarray(result.table["status"]) == "failed"
        assert 0 < bad.sum() < 3
        assert set(result.table["message"][bad]) == {"no luck"}
        assert np.isnan(result.table["flux_g"][bad]).all()
        np.testing.assert_array_equal(result.table["flux_g"][~bad], models.table["flux_g"][~bad])
        assert "no luck" in caplog.text
        with pytest.raises(DeblendError, match=r"no model in image 'g' \(status 'failed': no luck\)"):
            result.model(int(np.flatnonzero(bad)[0]), "g")

    def test_all_fail(self, sky, monkeypatch, tmp_path):
        monkeypatch.setattr(field, "fit_blend", lambda *_: 1 / 0)
        result = deblend_field(sky.images, sky.truth, method=QUICK)
        assert set(result.table["status"]) == {"failed"}
        assert all(np.isnan(result.table[f"flux_{band}{kind}"]).all() for band in "gri" for kind in ("", "_err"))
        assert result.table["flux_r"].unit == u.nmgy
        result.write(tmp_path / "models.fits")
        assert same(result, read_models(tmp_path / "models.fits"))

    def test_masks_edges_and_duplicates(self, sky):
        truth = Table({"ra": sky.truth["ra"].value, "dec": sky.truth["dec"].value})
        truth.add_row(truth[2])
        mask = np.zeros(sky.images[0].shape, bool)
        x, y = (int(value[5]) for value in sky.images[0].sky_to_pixel(truth["ra"], truth["dec"]))
        mask[max(y - 25, 0) : y + 26, max(x - 25, 0) : x + 26] = True
        images = [image.replace(mask=mask) for image in sky.images]
        result = deblend_field(images, truth, method=QUICK)
        assert result.table["status"][5] in ("failed", "no data")
        assert result.table["status"][9] == "duplicate"
        (number,) = re.findall(r"source (\d+) of this blend \(counted from 0\)", result.table["message"][9])
        assert np.flatnonzero(result.table["blend"] == result.table["blend"][9])[int(number)] == 2
        assert (np.asarray(result.table["status"]) == "ok").sum() >= 6

    def test_an_interruption_keeps_what_is_finished(self, sky, models, monkeypatch, tmp_path):
        work, seen = field.fit_blend, []

        def fit_blend(*arguments):
            seen.append(1)
            if len(seen) == 4:
                raise KeyboardInterrupt
            return work(*arguments)

        monkeypatch.setattr(field, "fit_blend", fit_blend)
        result = deblend_field(sky.images, sky.truth, method=QUICK, rng=3)
        done = np.asarray(result.table["status"]) == "ok"
        assert result.interrupted
        assert 3 <= done.sum() < 9
        assert set(result.table["status"]) == {"ok", "interrupted"}
        np.testing.assert_array_equal(result.table["flux_i"][done], models.table["flux_i"][done])
        result.write(tmp_path / "part.fits")
        assert read_models(tmp_path / "part.fits").interrupted

    def test_bands_that_do_not_cover_all(self, sky):
        """A source outside of one band's image has no flux in it; one whose patch lies in it (to 25 pixels) does."""
        left = sky.images[1]
        half = Image(left.pixels[:, :70], band="r", psf=left.psf, wcs=left.wcs, sky=left.sky[:, :70],
                     noise=PoissonNoise(left.noise.photons_per_nanomaggy[:70], left.noise.variance))
        result = deblend_field([sky.images[0], half], sky.truth, method=QUICK)
        unknown = np.isnan(result.table["flux_r"])
        assert 0 < unknown.sum() < 9
        assert result.table["x"][unknown].min() > 70
        assert result.table["x"][~unknown].max() < 95
        assert np.isfinite(result.table["flux_g"]).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "magic"}, "method: 'magic', expected one of score, galaxies"),
            ({"method": "proximal", "prior": "score-hsc-32"}, "score-hsc-32, but the method 'proximal' has none"),
            ({"method": "score", "prior": "score-moon-32"}, "no prior 'score-moon-32' comes with the package"),
            ({"method": QUICK, "prior": "score-hsc-32"}, "prior: given beside the settings"),
            ({"method": 3}, "method: 3, expected a name, or settings"),
            ({"size": 3.0}, "size: 3.0, but no position"),
            ({"position": (30.0, 95.0)}, "expected ra, dec in degrees"),
            ({"position": (30.0, 80.0)}, "lie outside of every image, or are masked in all; choose a place within"),
            ({"threshold": 3.0}, "threshold: 3.0, but the sources are given"),
            ({"rng": -1}, "rng: -1, expected a whole number"),
            ({"rng": np.random.default_rng(1)}, "expected a whole number"),
            ({"n_jobs": 0}, "n_jobs: 0, expected a number of threads"),
        ],
    )
    def test_refusals(self, sky, options, message):
        with pytest.raises(DeblendError, match=message):
            deblend_field(sky.images, sky.truth, **({"method": QUICK} | options))

    def test_an_empty_square(self, sky):
        corner = sky.images[0].pixel_to_sky(1.0, 1.0)
        with pytest.raises(DeblendError, match="no source within the square of 1 arcsec"):
            deblend_field(sky.images, sky.truth, method=QUICK, position=corner, size=1)

    def test_an_empty_sky(self):
        rng = np.random.default_rng(1)
        image = Image(1 + 0.02 * rng.normal(size=(60, 60)), band="r", psf=GaussianPSF(fwhm=3), sky=1.0,
                      noise=PoissonNoise(2500.0), wcs=AffineAstrometry(30, 10, 30, 30, [[-2.5, 0], [0, 2.5]]))
        with pytest.raises(DeblendError, match="no source was found; give a catalogue"):
            deblend_field([image])


@pytest.fixture(scope="module")
def blend():
    """A star and a galaxy, some pixels without weight."""
    scene = random_scene([blank()])
    scene = scene.replace(scene.sources[1:])
    (observation,) = observed(scene, np.random.default_rng(1))
    return observation, [[source.y, source.x] for source in scene.sources]


class TestMethods:
    @pytest.mark.parametrize("name", METHODS)
    def test_each_takes_a_blend_apart(self, blend, name):
        observation, peaks = blend
        grid = Grid.of_scale(observation.shape[1:], 0.168)
        resized = Observation.from_arrays(observation.images, observation.weights, psfs=observation.psfs,
                                          bands=observation.bands, grid=grid)
        models = deblend_patch(resized, peaks, method=name, kinds=["point", "free"])
        assert models.table.meta["method"] == name
        assert models.table["status"].tolist() == ["ok", "ok"]
        assert models.table["chi2"][0] < 1.2
        assert ("data_share" in models.table.colnames) == (name in PRIORS)

    def test_images_too_sharp_for_a_prior(self, blend):
        """Its PSF of 1.8 pixels is one of 0.05 arcsec on pixels of HST, and the prior's one of 0.13."""
        observation, peaks = blend
        sharp = Observation.from_arrays(observation.images, observation.weights, psfs=observation.psfs,
                                        bands=observation.bands, pixel_scale=0.03)
        with pytest.raises(DeblendError, match="prior: .*wider than 0.134 arcsec .*take the prior of a sharper survey"):
            deblend_patch(sharp, peaks, method="score")

    def test_a_density_without_temperatures(self):
        assert isinstance(method_named("pixelcnn", GaussianPrior()), ForwardBackward)

    @pytest.mark.parametrize(("scale", "name"), [(0.2, "score"), (0.4, "galaxies"), (1.0, "score"), (4.0, "galaxies")])
    def test_by_pixel_scale(self, scale, name):
        method, prior = method_for(scale)
        assert method == name
        assert prior is None or 2 / 3 < prior.pixel_scale / scale < 1.5


class TestPatches:
    def test_arrays(self, blend):
        observation, peaks = blend
        models = deblend_patch(observation, peaks, method=QUICK, kinds=["point", "free"], rng=5)
        assert models.table.colnames[:5] == ["row", "x", "y", "blend", "n_blend"]
        assert models.table["kind"].tolist() == ["point", "free"]
        assert models.table["flux_g"].unit is None
        assert models.residuals[0].pixels.shape == observation.shape[1:]
        assert np.array_equal(np.isnan(models.residuals[0].pixels), observation.weights[0] == 0)
        assert models.wcs(0, "g").wcs.ctype[0] == "LINEAR"
        total = np.nan_to_num(models.residuals[1].pixels)
        for k in range(2):
            pixels, x0, y0 = models.model(k, "r")
            total[y0 : y0 + pixels.shape[0], x0 : x0 + pixels.shape[1]] += pixels
        used = observation.weights[1] > 0
        np.testing.assert_allclose(total[used], observation.images[1][used], atol=1e-4 * total.max())

    def test_round_trip(self, blend, tmp_path):
        models = deblend_patch(*blend, method=QUICK)
        models.write(tmp_path / "blend.fits")
        assert same(models, read_models(tmp_path / "blend.fits"))
        assert "BUNIT" not in fits.getheader(tmp_path / "blend.fits", "MODEL")
