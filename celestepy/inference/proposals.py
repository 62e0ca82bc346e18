"""Proposals for importance sampling of a group of sources: the fast mode's posterior, with heavy tails.

The fast mode knows the joint mode of a group, the Hessian there, and for each source a mixture of Gaussians that
describes its own posterior beyond Laplace's approximation (several colours, skewed fluxes, cusped ellipticities). Two
joint densities are made of these and mixed, since either can fail where the other does not:

* each source in turn follows its own mixture, and everything else its regression on that source;
* all sources follow their mixtures at once: Laplace's joint Gaussian times, for each source, its mixture over the
  marginal of that Gaussian.
"""

import numpy as np

from celestepy.inference.importance import StudentMixture

__all__ = ["group_proposal"]

# Components of less weight than this share are left out, and no more than so many are kept.
_LEAST_SHARE, _MOST_COMPONENTS = 1e-3, 64
# Weight of the copies that carry the tails, and degrees of freedom of the others: in twenty dimensions a Student t of
# five is far from a Gaussian, which most posteriors nearly are. Effective draws of 100: of galaxies 38 if all components
# had five degrees of freedom, 47 so; of stars 66 and 82.
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
        together = joint.multiplied(blocks, hypothesis.sources)
        parts = [(weights / len(parts), *rest) for weights, *rest in parts]
        parts = [*parts, together] if together is not None else parts
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

    def multiplied(self, blocks, sources):
        """All sources follow their mixtures; None where that is no proper density.

        In information form: to the joint precision P each component N(m, C) of a source adds ``inv(C) - inv(C_joint)``
        in the block of that source, and ``inv(C) (m - mode)`` to the shift.
        """
        size = len(self.mode)
        log_weights, precisions, shifts = np.zeros(1), self.precision[None], np.zeros((1, size))
        for block, source in zip(blocks, sources, strict=True):
            narrow = np.linalg.inv(source.covariances)
            gain = narrow - np.linalg.inv(self.covariance[block, block])
            offset = source.means - self.mode[block]
            pull = np.einsum("jab,jb->ja", narrow, offset)
            _, log_determinant = np.linalg.slogdet(narrow)
            own = np.log(source.weights) + 0.5 * log_determinant - 0.5 * np.einsum("ja,ja->j", offset, pull)
            log_weights = (log_weights[:, None] + own).ravel()
            precisions = np.repeat(precisions, len(own), axis=0)
            precisions[:, block, block] += np.tile(gain, (len(log_weights) // len(own), 1, 1))
            shifts = np.repeat(shifts, len(own), axis=0)
            shifts[:, block] += np.tile(pull, (len(log_weights) // len(own), 1))
            log_weights, precisions, shifts = _heaviest(log_weights, precisions, shifts)
            if not len(log_weights):
                return None
        covariances = _symmetric(np.linalg.inv(precisions))
        means = self.mode + np.einsum("jab,jb->ja", covariances, shifts)
        total = _log_integrals(log_weights, precisions, shifts)
        weights = np.exp(total - np.logaddexp.reduce(total))
        return weights, means, covariances


def _log_integrals(log_weights, precisions, shifts):
    """Log integrals of ``exp(log_weight + s.t - t'P t / 2)`` up to a constant; -inf where P is not a precision."""
    values, vectors = np.linalg.eigh(precisions)
    proper = values[:, 0] > 1e-10 * values[:, -1]
    safe = np.where(proper[:, None], values, 1.0)
    along = np.einsum("jab,ja->jb", vectors, shifts)
    result = log_weights + 0.5 * np.sum(along**2 / safe, axis=1) - 0.5 * np.sum(np.log(safe), axis=1)
    return np.where(proper, result, -np.inf)


def _heaviest(log_weights, precisions, shifts):
    """Those components that are proper and count."""
    total = _log_integrals(log_weights, precisions, shifts)
    order = np.argsort(-total, kind="stable")[:_MOST_COMPONENTS]
    order = order[np.isfinite(total[order])]
    order = order[total[order] > total[order[:1]] + np.log(_LEAST_SHARE)] if len(order) else order
    return log_weights[order], precisions[order], shifts[order]


def _symmetric(matrices):
    return 0.5 * (matrices + matrices.transpose(0, 2, 1))
