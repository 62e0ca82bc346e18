"""Files of models: what is written is read back, and nothing is lost or half-written."""

import numpy as np
import pytest
from astropy.io import fits
from deblend.field_models import QUICK, same

from celestepy.deblend import DeblendError, deblend_field, read_models


class TestFiles:
    def test_round_trip(self, models, tmp_path):
        models.write(tmp_path / "models.fits")
        again = read_models(tmp_path / "models.fits")
        assert same(models, again)
        assert again.table.meta == models.table.meta
        again.write(tmp_path / "again.fits")
        assert (tmp_path / "again.fits").read_bytes() == (tmp_path / "models.fits").read_bytes()

    def test_other_programs_find_the_images(self, models, tmp_path):
        models.write(tmp_path / "models.fits")
        with fits.open(tmp_path / "models.fits") as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus[:6]] == ["PRIMARY", "SOURCES", "METADATA", *3 * ["RESIDUAL"]]
            header = hdus["MODEL", 4].header
            assert (header["ROW"], header["IMAGES"], header["BANDS"]) == (3, "1,2,3", "g,r,i")
            assert hdus["MODEL", 4].data.shape[0] == 3
            assert hdus["RESIDUAL", 2].header["BAND"] == "r"
            assert hdus[0].header["METHOD"] == "AdaProx"
            assert {hdu.header["BUNIT"] for hdu in hdus[3:]} == {"nanomaggy"}

    def test_names_that_no_card_can_hold(self, sky, tmp_path):
        image = sky.images[0].replace(name="ночь 2\n")
        place = sky.truth["ra"][4].value, sky.truth["dec"][4].value
        models = deblend_field([image], sky.truth, method=QUICK, position=place, size=4)
        models.write(tmp_path / "models.fits")
        (residual,) = read_models(tmp_path / "models.fits").residuals
        assert residual.name == "ночь 2\n"
        models = deblend_field([image.replace(band="Г")], sky.truth, method=QUICK, position=place, size=4)
        with pytest.raises(DeblendError, match="give the bands names of plain letters"):
            models.write(tmp_path / "strange.fits")

    def test_nothing_is_replaced_unasked(self, models, tmp_path):
        path = tmp_path / "models.fits"
        path.write_text("mine")
        with pytest.raises(DeblendError, match="exists already"):
            models.write(path)
        assert path.read_text() == "mine"
        models.write(path, overwrite=True)
        assert len(read_models(path)) == 9

    @pytest.mark.parametrize(("name", "message"), [("a.txt", "extension '.txt'"), ("no/a.fits", "does not exist")])
    def test_places(self, models, tmp_path, name, message):
        with pytest.raises(DeblendError, match=message):
            models.write(tmp_path / name)

    def test_a_full_disk_leaves_nothing(self, models, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", fail)
        with pytest.raises(DeblendError, match=r"could not be written \(No space left on device\)"):
            models.write(tmp_path / "models.fits")
        assert not list(tmp_path.iterdir())

    def test_damaged_and_strange_files(self, models, sky, tmp_path):
        path = tmp_path / "models.fits"
        with pytest.raises(DeblendError, match="no such file"):
            read_models(path)
        models.write(path)
        path.write_bytes(path.read_bytes()[:-4000])
        with pytest.raises(DeblendError, match="not a readable file of celestepy deblend"):
            read_models(path)
        fits.writeto(path, np.zeros((3, 3)), overwrite=True)
        with pytest.raises(DeblendError, match="no card FORMAT"):
            read_models(path)

    def test_images_are_known_by_band_name_or_number(self, models):
        assert [models.image(name) for name in ("g", 2, "i")] == [0, 2, 2]
        with pytest.raises(DeblendError, match=r"image: 'z', expected a band \(g, r, i\)"):
            models.image("z")
