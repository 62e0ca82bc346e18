"""SDSS astrometry from the asTrans table: cubic distortion, then great-circle coordinates, then ICRS.

With row = y + 0.5 and col = x + 0.5 (SDSS puts pixel centres at half integers) and a colour c of the source:

    row' = row + g0 + g1 col + g2 col^2 + g3 col^3 + csRow c      (+ ccRow instead, without c, for c >= riCut)
    col' = col + h0 + h1 col + h2 col^2 + h3 col^3 + csCol c
    mu = a + b row' + c col',   nu = d + e row' + f col'

(https://www.sdss.org/dr7/products/general/astrometry.html). mu, nu are longitude and latitude about a great
circle of inclination incl, whose ascending node is at ra = node.
"""

import numpy as np

from celestepy.images.wcs import Astrometry

__all__ = ["SDSSAstrometry"]


class SDSSAstrometry(Astrometry):
    """Astrometry of one SDSS frame.

    Parameters
    ----------
    node, inclination : float
        Great circle of the scan, degrees.
    mu, nu : (3,) array_like
        Coefficients (a, b, c) and (d, e, f), degrees and degrees per pixel.
    row_terms, column_terms : (4,) array_like
        Cubic distortion terms g and h, pixels.
    """

    def __init__(self, node, inclination, mu, nu, row_terms, column_terms):
        self.node, self.inclination = float(node), float(inclination)
        self.mu, self.nu = np.asarray(mu, float), np.asarray(nu, float)
        self.row_terms, self.column_terms = np.asarray(row_terms, float), np.asarray(column_terms, float)

    @classmethod
    def from_table_row(cls, row):
        """From the single row of a frame's asTrans table (HDU 3).

        Parameters
        ----------
        row : record
            Row of the table.

        Returns
        -------
        SDSSAstrometry
            Of that frame.
        """
        terms = {axis: [row[f"D{axis}{power}"] for power in range(4)] for axis in ("ROW", "COL")}
        return cls(
            row["NODE"],
            row["INCL"],
            [row[name] for name in "ABC"],
            [row[name] for name in "DEF"],
            terms["ROW"],
            terms["COL"],
        )

    def pixel_to_sky(self, x, y):
        """Ra, dec [deg] of pixel coordinates x, y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        ra, dec : float or array
            ICRS, degrees.
        """
        row, col = np.asarray(y, float) + 0.5, np.asarray(x, float) + 0.5
        row = row + _cubic(self.row_terms, col)
        col = col + _cubic(self.column_terms, col)
        mu = self.mu[0] + self.mu[1] * row + self.mu[2] * col
        nu = self.nu[0] + self.nu[1] * row + self.nu[2] * col
        return self._great_circle_to_sky(mu, nu)

    def sky_to_pixel(self, ra, dec):
        """Pixel coordinates x, y of ra, dec [deg].

        Parameters
        ----------
        ra, dec : float or array_like
            ICRS, degrees.

        Returns
        -------
        x, y : float or array
            Pixel coordinates, 0-based.
        """
        mu, nu = self._sky_to_great_circle(ra, dec)
        determinant = self.mu[1] * self.nu[2] - self.mu[2] * self.nu[1]
        dmu, dnu = mu - self.mu[0], nu - self.nu[0]
        row = (dmu * self.nu[2] - dnu * self.mu[2]) / determinant
        target = (dnu * self.mu[1] - dmu * self.nu[1]) / determinant
        col = target
        for _ in range(8):  # the distortion changes by ~1e-3 per pixel: each pass gains three digits
            col = target - _cubic(self.column_terms, col)
        return col - 0.5, row - _cubic(self.row_terms, col) - 0.5

    def _great_circle_to_sky(self, mu, nu):
        mu, nu, tilt = np.radians(mu - self.node), np.radians(nu), np.radians(self.inclination)
        x, y, z = np.cos(mu) * np.cos(nu), np.sin(mu) * np.cos(nu), np.sin(nu)
        y, z = y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)
        ra = (self.node + np.degrees(np.arctan2(y, x))) % 360.0
        return ra, np.degrees(np.arctan2(z, np.hypot(x, y)))

    def _sky_to_great_circle(self, ra, dec):
        ra, dec, tilt = np.radians(np.asarray(ra) - self.node), np.radians(dec), np.radians(self.inclination)
        x, y, z = np.cos(ra) * np.cos(dec), np.sin(ra) * np.cos(dec), np.sin(dec)
        y, z = y * np.cos(tilt) + z * np.sin(tilt), z * np.cos(tilt) - y * np.sin(tilt)
        mu = self.node + np.degrees(np.arctan2(y, x))
        mu = self.mu[0] + (mu - self.mu[0] + 180.0) % 360.0 - 180.0  # the branch of the frame's own mu
        return mu, np.degrees(np.arctan2(z, np.hypot(x, y)))


def _cubic(terms, value):
    return ((terms[3] * value + terms[2]) * value + terms[1]) * value + terms[0]
