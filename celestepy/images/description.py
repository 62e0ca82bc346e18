"""Images described by a small TOML file, one ``[[image]]`` table for each.

File names are relative to the folder of the TOML file.

The keys are listed in `KEYS` and explained in the user guide; an unknown key is an error, so that a typing
mistake never becomes a silent default.
"""

import tomllib
from pathlib import Path

import numpy as np

from celestepy.images.counts import from_counts
from celestepy.images.errors import ImageError, one_line
from celestepy.images.hdus import header_wcs, read_hdus, select_hdu
from celestepy.images.noise_calibration import measure_noise_scale
from celestepy.images.psf import GaussianPSF, MixturePSF, MoffatPSF, ScaledPSF, StampPSF
from celestepy.images.psf_calibration import measure_aperture_correction, measure_psf_error
from celestepy.images.psf_mixture import PSFMixture
from celestepy.images.psfex import read_psfex
from celestepy.images.sky import read_spline_sky

__all__ = ["described_files", "read_toml"]

MAP_KEYS = {"file", "extension"}
KEYS = {
    "file",
    "extension",
    "band",
    "name",
    "zero_point",
    "exposure_time",
    "gain",
    "read_noise",
    "weight",
    "variance",
    "sky",
    "sky_subtracted",
    "psf",
    "mask",
    "saturation",
    "wcs_offset",
    "noise_scale",
    "psf_error",
    "aperture_correction",
    "calibration_error",
}
NUMBERS = ("exposure_time", "gain", "read_noise", "saturation")
PSF_KEYS = {
    "psfex": {"file"},
    "stamp": {"file", "extension", "oversampling", "center"},
    "moffat": {"fwhm", "beta"},
    "gaussian": {"fwhm", "sigma"},
    "mixture": {"amplitudes", "means", "covariances"},
}


def read_toml(path, bands=None):
    """Read the images that a TOML file describes.

    Parameters
    ----------
    path : path-like
        The TOML file; the user guide explains its keys.
    bands : sequence of str, optional
        Only images of these bands.

    Returns
    -------
    list of Image
        In the order of the file.

    Raises
    ------
    ImageError
        One line that names the TOML file, the image and the key or file that is wrong.
    """
    path = Path(path)
    tables = _tables(path)
    files = _Files(path.parent)
    images = []
    for number, table in enumerate(tables, start=1):
        where = f"{path}: image {number}"
        _check_keys(table, KEYS, where)
        if bands is not None and table.get("band") not in tuple(bands):
            continue
        try:
            images.append(_image(table, files))
        except ImageError as error:
            raise ImageError(f"{where}: {error}") from error
    if not images:
        raise ImageError(
            f"{path}: no image of the bands {', '.join(bands)}, expected one at least; it has {_bands(tables)}"
        )
    return images


def described_files(path):
    """Files that a TOML description names, whether they exist or not.

    Parameters
    ----------
    path : path-like
        The TOML file.

    Returns
    -------
    list of pathlib.Path
        Pixels, maps and PSFs of all bands.

    Raises
    ------
    ImageError
        If it is no description of images.
    """
    path = Path(path)
    return [path.parent / name for name in _named_files(_tables(path))]


def _named_files(value):
    """Yield whatever stands under a key ``file``, at any depth."""
    if isinstance(value, list):
        for entry in value:
            yield from _named_files(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key == "file" and isinstance(entry, str):
                yield entry
            else:
                yield from _named_files(entry)


class _Files:
    """Reads FITS files relative to a folder, each once."""

    def __init__(self, folder):
        self.folder = folder
        self._hdus = {}

    def path(self, name):
        if not isinstance(name, str):
            raise ImageError(f"file: {name!r}, expected the name of a file as a string")
        return self.folder / name

    def hdu(self, table):
        path = self.path(table["file"])
        if path not in self._hdus:
            self._hdus[path] = read_hdus(path)
        return select_hdu(self._hdus[path], table.get("extension"), path)

    def map(self, argument, table):
        """The pixels of a {file, extension} table, or the number given instead."""
        if not isinstance(table, dict):
            return _number(argument, table, " or a table with file=...")
        _check_keys(table, MAP_KEYS | {"bits", "values"}, argument, required=("file",))
        return self.hdu(table).data


def _tables(path):
    try:
        with open(path, "rb") as stream:
            tables = tomllib.load(stream).get("image")
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the name") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ImageError(
            f"{path}: not a TOML file ({one_line(error)}); see the user guide for the format"
        ) from error
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ImageError(
            f"{path}: no [[image]] table, expected one for each image; see the user guide for the format"
        )
    return tables


def _bands(tables):
    return ", ".join(sorted({str(table.get("band")) for table in tables}))


def _check_keys(table, known, where, required=()):
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ImageError(f"{where}: unknown key {unknown[0]!r}, expected one of {', '.join(sorted(known))}")
    missing = [key for key in required if key not in table]
    if missing:
        raise ImageError(f"{where}: no {missing[0]!r}, which is needed")


def _image(table, files):
    """One image of its table."""
    _check_keys(table, KEYS, "image", required=("file", "band", "psf", "zero_point"))
    numbers = {key: _number(key, table[key], "") for key in NUMBERS if key in table}
    if not isinstance(table.get("sky_subtracted", False), bool):
        raise ImageError(f"sky_subtracted: {table['sky_subtracted']!r}, expected true or false")
    hdu = files.hdu(table)
    path = files.path(table["file"])
    if hdu.data is None or hdu.data.ndim != 2:
        raise ImageError(
            f"{path}: data of shape {getattr(hdu.data, 'shape', None)}, expected a two-dimensional image"
        )
    shape = hdu.data.shape
    image = from_counts(
        hdu.data,
        band=table["band"],
        name=table.get("name", path.name.split(".fits")[0]),
        psf=_psf(table["psf"], files),
        wcs=_wcs(hdu.header, path, table.get("wcs_offset")),
        zero_point=table["zero_point"],
        sky=_sky(table.get("sky", 0.0), files, shape),
        mask=_mask(table.get("mask"), files),
        **{key: files.map(key, table[key]) for key in ("weight", "variance") if key in table},
        sky_subtracted=table.get("sky_subtracted", False),
        **numbers,
    )
    return _measured(image, table)


def _measured(image, table):
    """The image with noise scale, aperture correction and PSF error as given or measured."""
    changes = {}
    if "aperture_correction" in table:
        given = table["aperture_correction"]
        measured = given == "measure"
        correction = (
            measure_aperture_correction(image)[0] if measured else _number("aperture_correction", given)
        )
        if not correction > 0:
            raise ImageError(
                f"aperture_correction: {correction}, expected a number > 0, usually 1.00 to 1.10"
            )
        changes["psf"] = ScaledPSF(image.psf, 1 / correction)
    for key, measure in (("noise_scale", measure_noise_scale), ("psf_error", measure_psf_error)):
        if key in table:
            changes[key] = measure(image) if table[key] == "measure" else _number(key, table[key])
    if "calibration_error" in table:
        changes["calibration_error"] = _number("calibration_error", table["calibration_error"], "")
    return image.replace(**changes)


def _number(key, value, otherwise=" or 'measure'"):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ImageError(f"{key}: {value!r}, expected a number{otherwise}")
    return float(value)


def _wcs(header, path, offset):
    """The header's WCS, its reference point moved by `offset` arcsec (East, North)."""
    wcs = header_wcs(header, path)
    if not wcs.has_celestial:
        axes = ", ".join(filter(None, wcs.wcs.ctype)) or "none"
        raise ImageError(
            f"wcs: the header of {path} has the axes {axes}, expected two celestial axes such as RA---TAN, DEC--TAN;"
            " name the extension that has them, or solve the field for a WCS first"
        )
    if offset is not None:
        numbers = isinstance(offset, list) and all(type(value) in (int, float) for value in offset)
        if not numbers or len(offset) != 2 or not np.isfinite(offset).all():
            raise ImageError(f"wcs_offset: {offset!r}, expected [east, north] in arcsec")
        east, north = np.asarray(offset, dtype=float) / 3600
        wcs.wcs.crval += [east / np.cos(np.radians(wcs.wcs.crval[1])), north]
    return wcs


def _sky(sky, files, shape):
    if isinstance(sky, dict) and sky.get("type", "image") == "spline":
        _check_keys(sky, {"type", "file"}, "sky", required=("file",))
        return read_spline_sky(files.path(sky["file"]), shape)
    if isinstance(sky, dict):
        _check_keys(sky, MAP_KEYS | {"type"}, "sky", required=("file",))
        return files.hdu(sky).data
    if isinstance(sky, bool) or not isinstance(sky, (int, float, str)):
        raise ImageError(f"sky: {sky!r}, expected a level in counts, a table with file=..., or 'measure'")
    return sky


def _mask(mask, files):
    """True where any listed bit is set, or any listed value found; without a list, where not zero."""
    if mask is None:
        return None
    if not isinstance(mask, dict):
        raise ImageError(
            f"mask: {mask!r}, expected a table with file=..., extension=... and perhaps bits=[...]"
        )
    values = np.asarray(files.map("mask", mask))
    if "bits" in mask:
        bits = _integers("bits", mask["bits"], 62)
        return (values.astype(np.int64) & sum(1 << bit for bit in bits)) != 0
    if "values" in mask:
        return np.isin(values, _integers("values", mask["values"], 2**62))
    return values != 0


def _integers(key, values, largest):
    if not isinstance(values, list) or not all(
        type(value) is int and 0 <= value <= largest for value in values
    ):
        raise ImageError(f"mask: {key} = {values!r}, expected a list of integers from 0 to {largest}")
    return values


def _psf(psf, files):
    if not isinstance(psf, dict):
        raise ImageError(f"psf: {psf!r}, expected a table with type one of {', '.join(PSF_KEYS)}")
    if psf.get("type") not in PSF_KEYS:
        found = f"type {psf['type']!r}" if "type" in psf else "no type"
        raise ImageError(
            f"psf: {found}, expected one of {', '.join(PSF_KEYS)}, such as psf = {{ type = \"gaussian\", fwhm = 3.0 }}"
        )
    kind, arguments = psf["type"], {key: value for key, value in psf.items() if key != "type"}
    _check_keys(arguments, PSF_KEYS[kind], f"psf of type {kind!r}", required=PSF_KEYS[kind] & {"file"})
    for key in arguments.keys() & {"fwhm", "sigma", "beta", "oversampling"}:
        if type(arguments[key]) not in (int, float):
            raise ImageError(f"psf of type {kind!r}: {key} = {arguments[key]!r}, expected a number without quotes")
    try:
        if kind == "psfex":
            return read_psfex(files.path(psf["file"]))
        if kind == "stamp":
            pixels = files.hdu({key: arguments.pop(key) for key in MAP_KEYS & set(arguments)}).data
            return StampPSF(pixels, **arguments)
        if kind == "mixture":
            return MixturePSF(PSFMixture(**arguments))
        return {"moffat": MoffatPSF, "gaussian": GaussianPSF}[kind](**arguments)
    except (TypeError, ValueError) as error:
        raise ImageError(f"psf of type {kind!r}: {one_line(error)}") from error
