"""Describe a Legacy Surveys test case (DECam exposures with weights, PSFEx models and spline skies) in TOML.

    python examples/decam_tc3.py DIRECTORY decam.toml

DIRECTORY has the layout of a Legacy Surveys survey directory: ``survey-ccds-*.fits.gz``, ``images/`` and
``calib/``. The TOML file then serves ``celestepy.images.read_toml`` and the command line.
"""

import argparse
import os
from pathlib import Path

from astropy.table import Table

ENTRY = """\
[[image]]
name = "{name}"
band = "{band}"
file = "{image}"
extension = "{ccd}"
zero_point = "{zero_point:.6f} ABmag"  # of one count per second
exposure_time = {exposure_time:.1f}
wcs_offset = [{east:.5f}, {north:.5f}]  # arcsec: this CCD's astrometric zero point
weight = {{ file = "{weight}", extension = "{ccd}" }}
mask = {{ file = "{quality}", extension = "{ccd}" }}
sky = {{ type = "spline", file = "{sky}" }}
psf = {{ type = "psfex", file = "{psf}" }}
"""


def describe(directory, output):
    """Write the TOML description of every exposure in a survey directory.

    Parameters
    ----------
    directory : path-like
        Survey directory.
    output : path-like
        TOML file to write; file names in it are relative to its folder.

    Returns
    -------
    Path
        `output`.
    """
    directory, output = Path(directory), Path(output)
    tables = [Table.read(path) for path in sorted(directory.glob("survey-ccds-*.fits.gz"))]
    entries = [_entry(directory, output.parent, row) for table in tables for row in table]
    output.write_text("\n".join(entries), encoding="utf-8")
    return output


def _entry(directory, folder, row):
    image = Path("images") / row["image_filename"]
    stem, ccd, _ = image.name.rsplit(".", 2)
    calibration = image.parent.relative_to("images") / stem / f"{stem}-{ccd}"
    files = {
        "image": image,
        "weight": image.with_name(image.name.replace("_ooi_", "_oow_")),
        "quality": image.with_name(image.name.replace("_ooi_", "_ood_")),
        "psf": Path("calib/psfex-single") / f"{calibration}-psfex.fits",
        "sky": Path("calib/sky-single") / f"{calibration}-splinesky.fits",
    }
    return ENTRY.format(
        name=f"{stem}-{ccd}",
        band=row["filter"],
        ccd=ccd,
        zero_point=row["ccdzpt"],
        exposure_time=row["exptime"],
        east=row["ccdraoff"],
        north=row["ccddecoff"],
        **{key: Path(os.path.relpath(directory / path, folder)).as_posix() for key, path in files.items()},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    print(describe(arguments.directory, arguments.output))
