"""Build images from the Stripe 82 stamps: one field seen many times in five bands.

The header of each stamp holds its PSF as three Gaussians.

    python examples/stripe82_stamps.py DIRECTORY

prints the images that are read.
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from celestepy.images import GaussianNoise, Image, MixturePSF, PSFMixture

# pairs 13 to 15 are second fields of runs that are there already
DISTINCT_EXPOSURES = (*range(13), 16)


def read_stamps(directory, bands="ugriz", exposures=DISTINCT_EXPOSURES):
    """Images of the chosen exposures, all bands of the first exposure first.

    Parameters
    ----------
    directory : path-like
        Folder with stamp-{u,g,r,i,z}-RA-DEC.fits, each holding pairs of an image [nmgy] and its inverse
        variance.
    bands : str or sequence of str, optional
        Bands to read.
    exposures : sequence of int, optional
        Numbers of the pairs, from 0.

    Returns
    -------
    list of Image
        Gaussian noise from the inverse variance; the sky is subtracted already.
    """
    images = []
    pairs = {band: _pairs(Path(directory), band) for band in bands}
    for exposure in exposures:
        for band in bands:
            header, pixels, weight = pairs[band][exposure]
            images.append(_image(header, pixels, weight, f"{band}-{exposure:02d}-run{header['RUN']}"))
    return images


def _pairs(directory, band):
    (path,) = directory.glob(f"stamp-{band}-*.fits")
    with fits.open(path) as hdus:
        return [
            (hdus[i].header, hdus[i].data.copy(), hdus[i + 1].data.copy()) for i in range(0, len(hdus), 2)
        ]


def _image(header, pixels, weight, name):
    variance = np.full(weight.shape, np.inf)
    variance[weight > 0] = 1 / weight[weight > 0].astype(float)
    return Image(
        pixels,
        band=header["BAND"],
        name=name,
        psf=MixturePSF(_mixture(header)),
        wcs=WCS(header),
        noise=GaussianNoise(variance),
    )


def _mixture(header):
    """The header's mixture, whose amplitudes are brought to a sum of one."""
    numbers = np.array([header[f"PSF_P{i}"] for i in range(18)])
    amplitudes, means, (xx, yy, xy) = numbers[:3], numbers[3:9].reshape(3, 2), numbers[9:].reshape(3, 3).T
    return PSFMixture(amplitudes / amplitudes.sum(), means, np.column_stack([xx, xy, yy]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    for image in read_stamps(parser.parse_args().directory):
        print(image)
