"""Sums over noisy rows under a mixture of Gaussians, as the kernel makes and as fits need them."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Expectation", "Gradient", "KernelSums"]


@dataclass(frozen=True, eq=False)
class Expectation:
    """Sums over rows that the next step of expectation maximisation needs.

    They are taken about the means ``m_j`` they were computed at, so that nothing cancels where a component is
    narrow and far from the origin. With ``r_ij`` the responsibilities (times the row's weight), and ``b_ij, B_ij`` mean
    and covariance of ``v_i`` given ``x_i`` and component j (Bovy, Hogg & Roweis 2011, eq. 8):

    Parameters
    ----------
    log_likelihood : float
        Sum of the rows' log densities, each times its weight.
    weight : float
        Sum of the weights of the rows that have something observed.
    counts : `~numpy.ndarray`, shape (K,)
        ``sum_i r_ij``.
    offsets : `~numpy.ndarray`, shape (K, D)
        ``sum_i r_ij (b_ij - m_j)``.
    scatter : `~numpy.ndarray`, shape (K, D, D)
        ``sum_i r_ij [(b_ij - m_j) (b_ij - m_j)' + B_ij]``.
    log_densities : `~numpy.ndarray`, shape (N,)
        Of the rows.
    """

    log_likelihood: float
    weight: float
    counts: np.ndarray
    offsets: np.ndarray
    scatter: np.ndarray
    log_densities: np.ndarray


@dataclass(frozen=True, eq=False)
class Gradient:
    """The log likelihood of rows and its gradient, for descent on unconstrained parameters.

    Parameters
    ----------
    log_likelihood : float
        Sum of the rows' log densities, each times its weight.
    weight : float
        Sum of the weights of the rows that have something observed.
    logits : `~numpy.ndarray`, shape (K,)
        By z, where the weights are ``softmax(z)``.
    means : `~numpy.ndarray`, shape (K, D)
        By the means.
    factors : `~numpy.ndarray`, shape (K, D, D)
        By the elements of the lower triangles L of ``V = L L'``; zero above the diagonals.
    counts : `~numpy.ndarray`, shape (K,)
        Sums of the responsibilities.
    """

    log_likelihood: float
    weight: float
    logits: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True, eq=False)
class KernelSums:
    """What the kernel adds up over rows: see `Expectation` for the letters.

    Parameters
    ----------
    log_densities : `~numpy.ndarray`, shape (N,)
        Of the rows, which are not added up.
    counts : `~numpy.ndarray`, shape (K,)
        ``sum_i r_ij``.
    slopes : `~numpy.ndarray`, shape (K, D)
        Sums of ``r_ij`` times the derivative of the row's log density under component j by its mean.
    curvatures : `~numpy.ndarray`, shape (K, D, D)
        Sums of ``r_ij`` times twice the derivative by its covariance.
    """

    log_densities: np.ndarray
    counts: np.ndarray
    slopes: np.ndarray
    curvatures: np.ndarray

    @classmethod
    def zeros(cls, n_rows, k, dim):
        """Sums that nothing was added to.

        Parameters
        ----------
        n_rows, k, dim : int
            Numbers of rows, components and dimensions.

        Returns
        -------
        KernelSums
            Of zeros.
        """
        return cls(np.zeros(n_rows), np.zeros(k), np.zeros((k, dim)), np.zeros((k, dim, dim)))

    def add(self, other):
        """Add the sums over other rows to these, in place.

        Parameters
        ----------
        other : KernelSums
            For the same components.
        """
        self.counts[...] += other.counts
        self.slopes[...] += other.slopes
        self.curvatures[...] += other.curvatures
