"""A small SDSS field written to disk: the layout of the real files, with known contents."""

import numpy as np
from astropy.io import fits

RUN, CAMCOL, FIELD = 94, 1, 12
SHAPE = (96, 128)
BANDS = "ugriz"
GAIN = np.array([1.62, 3.32, 4.71, 5.165, 4.745])
DARK_VARIANCE = np.array([9.61, 15.6, 1.82, 7.84, 0.81])
SKY_DN = 150.0
PLANES = [
    "INTERP",
    "SATUR",
    "NOTCHECKED",
    "OBJECT",
    "BRIGHTOBJECT",
    "BINOBJECT",
    "CATOBJECT",
    "SUBTRACTED",
    "GHOST",
    "CR",
]
SPANS = {
    "INTERP": [(10, 20, 24)],
    "SATUR": [(30, 40, 42), (31, 40, 41)],
    "OBJECT": [(50, 0, 127)],
    "CR": [(60, 5, 5)],
}
ASTRANS = {
    "NODE": 286.86, "INCL": 0.0095, "A": 336.58, "B": 1.1e-4, "C": -4e-8, "D": -1.05, "E": -5e-9, "F": 1.1e-4,
    "DROW0": -0.05, "DROW1": 1.6e-4, "DROW2": -1e-7, "DROW3": 1e-11,
    "DCOL0": -0.26, "DCOL1": 1e-3, "DCOL2": -9e-7, "DCOL3": 2e-10,
}  # fmt: skip


def write_field(folder, rng):
    """Write all files of the field; returns the sky-subtracted frames in nanomaggies by band."""
    frames = {band: rng.normal(0, 0.02, SHAPE).astype("f4") for band in BANDS}
    for band, frame in frames.items():
        write_frame(folder / f"frame-{band}-000094-1-0012.fits", band, frame)
        write_masks(folder / f"fpM-000094-{band}1-0012.fit")
    write_psf(folder / "psField-000094-1-0012.fit")
    table = {"FIELD": ("J", [11, 12]), "GAIN": ("5E", [GAIN + 1, GAIN])}
    table["DARK_VARIANCE"] = ("5E", [DARK_VARIANCE + 1, DARK_VARIANCE])
    columns = [fits.Column(name, kind, array=np.array(values)) for name, (kind, values) in table.items()]
    fits.BinTableHDU.from_columns(columns).writeto(folder / "photoField-000094-1.fits")
    return frames


def calibration():
    """Nanomaggies per DN of each column."""
    return np.linspace(0.004, 0.006, SHAPE[1]).astype("f4")


def write_frame(path, band, frame):
    header = fits.Header({"FILTER": band, "RUN": RUN, "CAMCOL": CAMCOL})
    grid = np.full((SHAPE[0] // 8, SHAPE[1] // 8), SKY_DN, dtype="f4") + np.arange(SHAPE[1] // 8, dtype="f4")
    sky = [
        fits.Column("ALLSKY", f"{grid.size}E", dim=f"({grid.shape[1]},{grid.shape[0]})", array=grid[None]),
        fits.Column("XINTERP", f"{SHAPE[1]}E", array=(np.arange(SHAPE[1])[None] + 0.5) / 8 - 0.5),
        fits.Column("YINTERP", f"{SHAPE[0]}E", array=(np.arange(SHAPE[0])[None] + 0.5) / 8 - 0.5),
    ]
    astrans = [fits.Column(name, "D", array=[value]) for name, value in ASTRANS.items()]
    fits.HDUList(
        [
            fits.PrimaryHDU(frame, header),
            fits.ImageHDU(calibration()),
            fits.BinTableHDU.from_columns(sky),
            fits.BinTableHDU.from_columns(astrans),
        ]
    ).writeto(path)


def write_masks(path):
    hdus = [fits.PrimaryHDU(header=fits.Header({"MASKROWS": SHAPE[0], "MASKCOLS": SHAPE[1]}))]
    for plane in PLANES:
        spans = np.array(SPANS.get(plane, np.zeros((0, 3))), dtype=">i2")
        objects = np.empty(len(spans) and 1, dtype=object)
        if len(spans):
            objects[0] = np.frombuffer(spans.tobytes(), dtype="u1")
        hdus.append(fits.BinTableHDU.from_columns([fits.Column("s", "PB()", array=objects)]))
    names = [f"S_MASK_{plane}" for plane in PLANES] + ["S_NMASK_TYPES"]
    columns = [
        fits.Column("attributeName", "20A", array=names),
        fits.Column("Value", "J", array=np.arange(11)),
    ]
    hdus.append(fits.BinTableHDU.from_columns(columns))
    fits.HDUList(hdus).writeto(path)


def eigenimages():
    """A round PSF and the derivative of its width, 51 x 51 with an empty border of 10."""
    y, x = np.mgrid[-25:26, -25:26]
    r2 = x**2 + y**2
    core = 0.9 * np.exp(-r2 / 4.5) / (4.5 * np.pi) + 0.1 * np.exp(-r2 / 24) / (24 * np.pi)
    wider = core * (r2 / 4.5 - 1)
    inside = (np.abs(x) <= 15) & (np.abs(y) <= 15)
    return np.where(inside, [core, wider], 0.0)


def write_psf(path):
    hdus = [fits.PrimaryHDU()]
    coefficients = np.zeros((2, 5, 5))
    coefficients[0, 0, 0] = 1000.0
    coefficients[1, 1, 0] = 1000.0  # the width grows with the row: 0.001 * row * 1000
    images = np.empty(2, dtype=object)
    images[:] = [image.ravel().astype("f4") for image in eigenimages()]
    for _ in BANDS:
        columns = [
            fits.Column("nrow_b", "J", array=[2, 2]),
            fits.Column("ncol_b", "J", array=[2, 2]),
            fits.Column("c", "25E", dim="(5,5)", array=coefficients),
            fits.Column("RNROW", "J", array=[51, 51]),
            fits.Column("RNCOL", "J", array=[51, 51]),
            fits.Column("RROWS", "PE()", array=images),
        ]
        hdus.append(fits.BinTableHDU.from_columns(columns))
    fits.HDUList(hdus).writeto(path)
