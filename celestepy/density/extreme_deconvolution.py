"""The estimator: a density of noiseless quantities from noisy, incomplete rows."""

import warnings
from inspect import signature

import numpy as np
from threadpoolctl import threadpool_limits

from celestepy.density.arguments import random_generator
from celestepy.density.chunks import as_source, survey
from celestepy.density.collapse import ComponentCollapseWarning, n_held_by_prior, repaired
from celestepy.density.expectation import log_densities
from celestepy.density.methods import METHODS, Plan
from celestepy.density.monitor import Monitor
from celestepy.density.noisy_rows import DensityError
from celestepy.density.objective import Components, CovariancePrior, Kept, Objective
from celestepy.density.scales import column_scales, warn_of_far_row
from celestepy.density.starts import fixed_components, free_components, together

__all__ = ["ExtremeDeconvolution"]

# Rows that starts and scales are taken from, per component and at least.
_SAMPLE_PER_COMPONENT, _LEAST_SAMPLE = 200, 20_000
# Rows that are enough to judge a mixture by: the standard error of their mean log density is below 0.01.
_MOST_HELD_OUT = 100_000


class ExtremeDeconvolution:
    r"""Mixture of Gaussians for noiseless quantities, fitted to noisy, incomplete rows.

    Rows are ``x_i = R_i v_i + noise_i`` with known projections and known covariances of the noise; the density of v is
    fitted (Bovy, Hogg & Roweis 2011, Annals of Applied Statistics 5, 1657). The parameters are not looked at before
    `fit`, as in scikit-learn.

    Parameters
    ----------
    n_components : int
        Number K of Gaussians, fixed ones included.
    method : {"hybrid", "em", "minibatch", "sgd"}, optional
        "em": passes over all rows, each raising the likelihood. "minibatch": online EM on shuffled rows (Ritchie &
        Murray 2019). "sgd": Adam on shuffled rows (the same). "hybrid": minibatch EM, split-and-merge, and a few
        passes over all rows.
    max_iter : int, optional
        Most passes over the rows in all; without it 500 for "em", 20 for "minibatch", 40 for "sgd", and 10 to 28 for
        "hybrid", the fewer the more rows there are for each component.
    tol : float, optional
        Gain of the penalised log likelihood per pass, in nats per row, below which a fit has converged.
    regularization : float, optional
        Number w of pseudo-rows: every covariance is estimated as if w more rows had been seen, of unit covariance
        about the component's mean in columns divided by their robust scale (`scales_`). It has the same meaning, and
        the same maxima, for all methods. 0 is maximum likelihood.
    init : {"kmeans", "k-means++"}, `~celestepy.density.GaussianMixture` or tuple, optional
        Start: minibatch k-means or k-means++ on a sample, or a mixture, or arrays (weights, means, covariances), of
        the components that are not fixed.
    fixed : `~celestepy.density.GaussianMixture` or tuple, optional
        Components that stay as they are, and become the first of the mixture; with arrays, weights need not sum to
        one.
    fixed_weights : bool, optional
        Whether the weights of fixed components stay too. Otherwise they are starting values.
    batch_size : int, optional
        Rows in a minibatch; without it 25 for each component (100 to 8192), 500 for "sgd", and a twentieth of the rows
        if that is less.
    learning_rate : float, optional
        Of Adam, in columns divided by their scale; divided by ten in the second half.
    split_merge : int or None, optional
        Most components that split-and-merge may split, merging as many pairs; 0 for none. None is K / 8, at least 2,
        for "hybrid", and 0 for the other methods.
    validation_fraction : float, optional
        Fraction of the rows held out, at most 100,000 of which are used to stop early; the mixture with the best
        held-out score is returned.
    patience : int, optional
        Passes without a gain of the held-out score after which the fit stops.
    n_jobs : int, optional
        Threads; -1 is one for each core. The result does not depend on it.
    rng : `numpy.random.Generator`, int or None, optional
        Of starts, shuffling and subsamples. The same seed gives the same mixture.
    progress : bool, optional
        Whether to show a progress bar.

    Attributes
    ----------
    weights_, means_, covariances_ : `~numpy.ndarray`
        The mixture: shapes (K,), (K, D), (K, D, D).
    mixture_ : `~celestepy.density.GaussianMixture`
        The same.
    scales_ : `~numpy.ndarray`
        Scale of each column that the regularisation refers to, shape (D,).
    trace_ : tuple of `~celestepy.density.TraceEntry`
        One for each pass.
    converged_ : bool
        Whether the last passes gained less than `tol`. The schedule of "hybrid" mostly ends before, see `trace_`.
    n_iter_ : int
        Passes made.
    n_repaired_, n_held_by_prior_ : int
        Collapsed components repaired on the way, and those whose narrowest axis in the end is the regularisation's.
    n_features_in_ : int
        Columns of X.

    Examples
    --------
    >>> import numpy as np
    >>> from celestepy.density import ExtremeDeconvolution
    >>> rng = np.random.default_rng(1)
    >>> truth = np.concatenate([rng.normal(-2, 0.5, (500, 1)), rng.normal(2, 0.5, (500, 1))])
    >>> noisy = truth + rng.normal(0, 1, truth.shape)
    >>> xd = ExtremeDeconvolution(2, rng=1).fit(noisy, covariance=np.ones(noisy.shape))
    >>> bool(np.allclose(np.sort(xd.means_[:, 0]), [-2, 2], atol=0.2))
    True
    """

    def __init__(
        self,
        n_components,
        *,
        method="hybrid",
        max_iter=None,
        tol=1e-5,
        regularization=1e-3,
        init="kmeans",
        fixed=None,
        fixed_weights=True,
        batch_size=None,
        learning_rate=1e-2,
        split_merge=None,
        validation_fraction=0.0,
        patience=5,
        n_jobs=1,
        rng=None,
        progress=False,
    ):
        self.n_components = n_components
        self.method = method
        self.max_iter = max_iter
        self.tol = tol
        self.regularization = regularization
        self.init = init
        self.fixed = fixed
        self.fixed_weights = fixed_weights
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.split_merge = split_merge
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_jobs = n_jobs
        self.rng = rng
        self.progress = progress

    def __repr__(self):
        defaults = {name: p.default for name, p in signature(type(self)).parameters.items()}
        given = (f"{name}={value!r}" for name, value in self.get_params().items() if value is not defaults[name])
        return f"ExtremeDeconvolution({', '.join(given)})"

    def get_params(self, deep=True):
        """Parameters of the constructor.

        Parameters
        ----------
        deep : bool, optional
            Has no effect; there for scikit-learn.

        Returns
        -------
        dict
            By name.
        """
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **params):
        """Change parameters of the constructor.

        Parameters
        ----------
        **params : dict
            By name.

        Returns
        -------
        ExtremeDeconvolution
            Itself.

        Raises
        ------
        DensityError
            If there is no such parameter.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise DensityError(f"{name} is no parameter of ExtremeDeconvolution; those are {', '.join(known)}")
            setattr(self, name, value)
        return self

    def fit(self, X, covariance=None, projection=None, weights=None):
        """Fit the mixture.

        Parameters
        ----------
        X : array_like, `~celestepy.density.NoisyRows`, `~celestepy.density.FitsRows` or callable
            Rows, shape (n, d); NaN and masked values are missing. Memory-mapped arrays are read piece by piece. A
            function must return an iterator of chunks, each an array, a tuple (X, covariance, projection, weights),
            of which the last may be left out, or `~celestepy.density.NoisyRows`; it is called once for every pass,
            and its rows should be in no particular order.
        covariance : array_like, optional
            Covariances of the noise, shape (n, d, d); variances, shape (n, d); one of them for all rows, shape
            (d, d) or (d,); or None without noise.
        projection : array_like, optional
            Projections, shape (n, d, D) or (d, D); the identity without it.
        weights : array_like, optional
            Row weights, shape (n,). A row of weight two counts as two rows, also beside the pseudo-rows of
            `regularization`: weights should have a mean of about one, not a sum of one.

        Returns
        -------
        ExtremeDeconvolution
            Itself, with the attributes that end in an underscore.

        Raises
        ------
        DensityError
            If a parameter or the rows cannot be used; the message says which and what to do.
        """
        plan = Plan.of(self)
        rng = random_generator(self.rng)
        source = as_source(X, covariance, projection, weights)
        if self.validation_fraction:
            source = source.without(self.validation_fraction, int(rng.integers(2**62)))
        with threadpool_limits(1):
            objective, components, n_columns = self._start(source, rng)
            total = plan.n_passes(objective.n_rows, len(components))
            with Monitor(objective, self.tol, self.patience, total, progress=self.progress) as monitor:
                fitted = monitor.best(METHODS[self.method](components, objective, monitor, plan, rng))
        self._keep(fitted, objective, monitor, n_columns)
        return self

    def score_samples(self, X, covariance=None, projection=None):
        """Log density of each row.

        Parameters
        ----------
        X, covariance, projection : array_like
            As for `fit`.

        Returns
        -------
        `~numpy.ndarray`
            Log of the density of the row's observed values, noise included, shape (n,); 0 for rows without any.

        Raises
        ------
        DensityError
            If the mixture has not been fitted, or the rows cannot be used.
        """
        arrays = self._fitted().arrays
        with threadpool_limits(1):
            chunks = as_source(X, covariance, projection).chunks()
            values = [log_densities(rows, *arrays, n_jobs=self.n_jobs) for rows in chunks]
        return np.concatenate([np.empty(0), *values])  # of no rows, too

    def score(self, X, covariance=None, projection=None, weights=None):
        """Mean log density of rows.

        Parameters
        ----------
        X, covariance, projection, weights : array_like
            As for `fit`.

        Returns
        -------
        float
            In nats per unit of weight; rows without an observed value do not count.

        Raises
        ------
        DensityError
            As `score_samples`.
        """
        return self._log_likelihood(as_source(X, covariance, projection, weights))[0]

    def bic(self, X, covariance=None, projection=None, weights=None):
        """Bayesian information criterion; the lower the better.

        Parameters
        ----------
        X, covariance, projection, weights : array_like
            As for `fit`.

        Returns
        -------
        float
            ``-2 log L + p log n``, with n the number of rows with an observed value, or the sum of their weights, and p
            the number of parameters that are fitted.

        Raises
        ------
        DensityError
            As `score_samples`.
        """
        mean, weight = self._log_likelihood(as_source(X, covariance, projection, weights))
        d, free = self.means_.shape[1], len(self.weights_) - self._kept.n
        n_weights = max(0, len(self.weights_[self._kept.weight_slice]) - 1)
        return -2.0 * mean * weight + (n_weights + free * (d + d * (d + 1) // 2)) * np.log(weight)

    def sample(self, n_samples=1, rng=None):
        """Draw noiseless quantities.

        Parameters
        ----------
        n_samples : int, optional
            How many.
        rng : `numpy.random.Generator`, int or None, optional
            Of the draws.

        Returns
        -------
        `~numpy.ndarray`
            Shape (n_samples, D).

        Raises
        ------
        DensityError
            If the mixture has not been fitted.
        """
        self._fitted()
        return self.mixture_.sample(n_samples, rng)

    @property
    def mixture_(self):
        """The fitted mixture, as a `~celestepy.density.GaussianMixture`."""
        from celestepy.density.mixture import GaussianMixture

        return GaussianMixture(*self._fitted().arrays)

    def _fitted(self):
        if not hasattr(self, "weights_"):
            raise DensityError("this ExtremeDeconvolution has not been fitted; call fit first")
        return Components(self.weights_, self.means_, self.covariances_)

    def _log_likelihood(self, source):
        """Mean log density and total weight of the rows that count."""
        arrays, total, weight = self._fitted().arrays, 0.0, 0.0
        with threadpool_limits(1):
            for rows in source.chunks():
                values = log_densities(rows, *arrays, n_jobs=self.n_jobs)
                counting = np.ones(len(rows)) if rows.weights is None else rows.weights
                counting = counting if rows.observed is None else counting * rows.observed.any(axis=1)
                some = counting > 0
                total, weight = total + counting[some] @ values[some], weight + counting.sum()
        if weight == 0:
            raise DensityError("X has no row with an observed value and a positive weight: there is nothing to score")
        return float(total / weight), float(weight)

    def _start(self, source, rng):
        """What to maximise, where to start, and the number of columns."""
        n_sample = max(_SAMPLE_PER_COMPONENT * self.n_components, _LEAST_SAMPLE)
        seen = survey(source, rng, sample_rows=n_sample, held_out_rows=_MOST_HELD_OUT)
        if len(seen.sample) < self.n_components:  # which then has all the rows that count
            raise DensityError(
                f"n_components = {self.n_components} is more than the {len(seen.sample)} rows to fit that have a value"
                " and a positive weight; take fewer components"
            )
        centre, scales = column_scales(seen.sample)
        warn_of_far_row(seen.sample, centre, scales, stacklevel=4)
        fixed = fixed_components(self.fixed, self.n_components, len(scales))
        prior, kept = CovariancePrior(float(self.regularization), scales), Kept(len(fixed), bool(self.fixed_weights))
        objective = Objective(
            source, seen.n_rows, seen.weight, seen.effective_rows, seen.held_out, prior, kept, self.n_jobs
        )
        n_free = self.n_components - len(fixed)
        free = free_components(self.init, seen.sample, n_free, (centre, scales), rng)
        return objective, together(fixed, free, fixed_weights=self.fixed_weights), seen.sample.values.shape[1]

    def _keep(self, fitted, objective, monitor, n_columns):
        """Attributes of the fit, and warnings of what went wrong."""
        fitted, _ = repaired(fitted, objective)
        self.weights_, self.means_, self.covariances_ = fitted.arrays
        self.n_features_in_ = n_columns
        self.scales_, self._kept = objective.prior.scales, objective.kept
        self.trace_, self.converged_, self.n_iter_ = tuple(monitor.trace), monitor.converged, len(monitor.trace)
        self.n_repaired_ = sum(entry.n_repaired for entry in self.trace_)
        self.n_held_by_prior_ = n_held_by_prior(fitted, objective)
        if monitor.repairing:
            warnings.warn(
                "the fit was stopped because components lose their rows as often as they are given some; take fewer"
                f" components than {len(fitted)}, or raise regularization",
                ComponentCollapseWarning,
                stacklevel=3,
            )
        if self.n_held_by_prior_:
            warnings.warn(
                f"{self.n_held_by_prior_} of {len(fitted)} components have no width of their own along some axis: the"
                " regularisation alone holds them; look for repeated rows, or rows without noise on a line, take fewer"
                " components, or raise regularization",
                ComponentCollapseWarning,
                stacklevel=3,
            )
