import bz2
import gzip

import numpy as np
import pytest
from astropy.io import fits

from celestepy.images import ImageError
from celestepy.images.hdus import read_hdus, read_many, select_hdu

PIXELS = np.random.default_rng(1).normal(size=(60, 80)).astype(">f4")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "image.fits"
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(PIXELS, name="SCI"), fits.ImageHDU(2 * PIXELS, name="ERR")]
    ).writeto(path)
    return path


def compressed(path, suffix, compress):
    other = path.with_name(path.name + suffix)
    other.write_bytes(compress(path.read_bytes()))
    return other


def test_compressed_files_are_read(path):
    paths = [path, compressed(path, ".bz2", bz2.compress), compressed(path, ".gz", gzip.compress)]
    for hdus in read_many(paths, 2):
        np.testing.assert_array_equal(hdus[1].data, PIXELS)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
@pytest.mark.parametrize(
    ("suffix", "compress"), [("", bytes), (".bz2", bz2.compress), (".gz", gzip.compress)]
)
def test_truncated_files_are_named(path, suffix, compress, share):
    whole = compress(path.read_bytes())
    broken = path.with_name("broken.fits" + suffix)
    broken.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ImageError, match="fetch it again") as caught:
        read_hdus(broken)
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_content_is_named(tmp_path):
    path = tmp_path / "page.fits"
    path.write_text("<html>404</html>" * 300)
    with pytest.raises(ImageError, match=r"page\.fits: not a whole FITS file"):
        read_hdus(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.fits: no such file"):
        read_hdus(tmp_path / "none.fits")


def test_extensions_by_number_name_and_default(path):
    hdus = read_hdus(path)
    assert select_hdu(hdus, None, path).name == "SCI"
    assert select_hdu(hdus, 2, path).name == "ERR"
    assert select_hdu(hdus, "err", path).name == "ERR"
    for extension in (0, 7, -1, "DQ"):
        with pytest.raises(ImageError, match=r"expected one of: 0 PRIMARY, 1 SCI, 2 ERR"):
            select_hdu(hdus, extension, path)
