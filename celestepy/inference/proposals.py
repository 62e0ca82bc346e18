"""Proposals for importance sampling of a group of sources: the fast mode's posterior, with heavy tails.

The fast mode knows the joint mode of a group, the Hessian there, and for each source a mixture of Gaussians that
describes its own posterior beyond Laplace's approximation (several colours, skewed fluxes, cusped ellipticities). Two
joint densities are made of these and mixed, since either can fail where the other does not:

* each source in turn follows its own mixture, and everything else its regression on that source;
* all sources follow their mixtures at once, and depend on one another as in Laplace's joint Gaussian.
"""

import numpy as np

from celestepy.inference.importance import StudentMixture

__all__ = ["draw_fit", "group_proposal"]

# Components of less weight than this share are left out, and no more than so many are kept.
_LEAST_SHARE, _MOST_COMPONENTS = 1e-3, 64
# Weight of the copies that carry the tails, and degrees of freedom of the others: in twenty dimensions a Student t of
# five is far from a Gaussian, which most posteriors nearly are. Effective draws of 100: of galaxies 38 if all
# components had five degrees of freedom, 47 so; of stars 66 and 82.
_WIDENED, _BODY_DF = 0.25, 20.0


def group_proposal(hypothesis, blocks, df=5.0, reach=None):
    """A proposal for all parameters of a group under one assignment of types.

    Parameters
    ----------
    hypothesis : `~celestepy.inference.laplace.Hypothesis`
        The fit; it must have a covariance (a finite evidence).
    blocks : sequence of slice
        Where each source's free vector lies among the D parameters.
    df : float
        Degrees of freedom of the tails.
    reach : array_like, optional
        Standard deviations to which parameters may reach beyond the fit, shape (D,), zero for most. With it, only a
        second copy of every component has tails of `df`, and is widened by them. The profile of a galaxy needs it,
        whose logit hardly matters to the pixels once the galaxy is nearly pure.

    Returns
    -------
    `~celestepy.inference.importance.StudentMixture`
        Over the D parameters, sky levels included.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the Hessian at the mode is not positive definite.
    """
    joint = _Joint(hypothesis)
    parts = [joint.regressed(block, source) for block, source in zip(blocks, hypothesis.sources, strict=True)]
    if len(blocks) > 1:
        parts = [(weights / len(parts), *rest) for weights, *rest in parts]
        parts.append(joint.linked(blocks, hypothesis.sources))
    weights, means, covariances = (np.concatenate(each) for each in zip(*parts, strict=True))
    keep = np.argsort(-weights, kind="stable")[:_MOST_COMPONENTS]
    keep = keep[weights[keep] > _LEAST_SHARE * weights[keep[0]]]
    weights, means, covariances = weights[keep] / weights[keep].sum(), means[keep], covariances[keep]
    if reach is None:
        return StudentMixture(weights, means, covariances, df)
    return StudentMixture(
        np.concatenate([(1 - _WIDENED) * weights, _WIDENED * weights]),
        np.concatenate([means, means]),
        np.concatenate([covariances, covariances + np.diag(np.square(reach))]),
        np.repeat([max(df, _BODY_DF), df], len(weights)),
    )


def draw_fit(hypothesis, blocks, n, rng):
    """Draw from the fast mode's own posterior of a group.

    Each source follows its own mixture of Gaussians exactly. The sources depend on one another as in Laplace's joint
    Gaussian: a draw of that, in units of the source's own covariance, says where in the component the source lies.

    Parameters
    ----------
    hypothesis, blocks
        As for `group_proposal`.
    n : int
        Number of draws.
    rng : `numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    `~numpy.ndarray`
        Shape (n, D).

    Raises
    ------
    numpy.linalg.LinAlgError
        If the Hessian at the mode, or a covariance of a source, is not positive definite.
    """
    joint = _Joint(hypothesis)
    offsets = rng.standard_normal((n, len(joint.mode))) @ np.linalg.cholesky(joint.covariance).T
    draws = joint.mode + offsets
    for block, source in zip(blocks, hypothesis.sources, strict=True):
        whitened = np.linalg.solve(np.linalg.cholesky(joint.covariance[block, block]), offsets[:, block].T).T
        component = rng.choice(len(source.weights), n, p=source.weights / source.weights.sum())
        factors = np.linalg.cholesky(source.covariances)[component]
        draws[:, block] = source.means[component] + np.einsum("nab,nb->na", factors, whitened)
    return draws


class _Joint:
    """Laplace's joint Gaussian, and what the mixtures of single sources make of it."""

    def __init__(self, hypothesis):
        self.mode = hypothesis.minimum.x
        self.precision = hypothesis.minimum.hessian
        np.linalg.cholesky(self.precision)  # raises where it is not positive definite
        self.covariance = np.linalg.inv(self.precision)

    def regressed(self, block, source):
        """One source follows its mixture, everything else its regression on that source."""
        own = np.arange(block.start, block.stop)
        rest = np.setdiff1d(np.arange(len(self.mode)), own)
        cross = self.covariance[np.ix_(rest, own)]
        slope = np.linalg.solve(self.covariance[np.ix_(own, own)], cross.T).T
        conditional = self.covariance[np.ix_(rest, rest)] - slope @ cross.T
        shape = len(source.weights), len(self.mode)
        means, covariances = np.empty(shape), np.empty((*shape, shape[1]))
        means[:, own] = source.means
        means[:, rest] = self.mode[rest] + (source.means - self.mode[own]) @ slope.T
        led = slope @ source.covariances
        covariances[:, own[:, None], own] = source.covariances
        covariances[:, rest[:, None], own] = led
        covariances[:, own[:, None], rest] = led.transpose(0, 2, 1)
        covariances[:, rest[:, None], rest] = conditional + led @ slope.T
        return source.weights, means, _symmetric(covariances)

    def linked(self, blocks, sources):
        """All sources follow their mixtures at once, and depend on one another as in Laplace's Gaussian.

        To component j, N(m, C), of a source belongs the linear map ``A = chol(C) inv(chol(C_joint))`` that turns the
        source's marginal covariance into C: mapped so, source by source, the joint covariance has the components'
        blocks, and the correlations of Laplace's.
        """
        log_weights, means = np.zeros(1), self.mode[None]
        maps = np.eye(len(self.mode))[None]
        for block, source in zip(blocks, sources, strict=True):
            marginal = np.linalg.cholesky(self.covariance[block, block])
            own = np.linalg.cholesky(source.covariances) @ np.linalg.inv(marginal)
            log_weights = (log_weights[:, None] + np.log(source.weights)).ravel()
            n, j = len(means), len(own)
            means, maps = np.repeat(means, j, axis=0), np.repeat(maps, j, axis=0)
            means[:, block], maps[:, block, block] = np.tile(source.means, (n, 1)), np.tile(own, (n, 1, 1))
            keep = np.argsort(-log_weights, kind="stable")[:_MOST_COMPONENTS]
            log_weights, means, maps = log_weights[keep], means[keep], maps[keep]
        weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))
        return weights, means, _symmetric(maps @ self.covariance @ maps.transpose(0, 2, 1))


def _symmetric(matrices):
    return 0.5 * (matrices + matrices.transpose(0, 2, 1))
