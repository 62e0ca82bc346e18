"""To and from the mixtures of scikit-learn and astroML."""

import numpy as np

from celestepy.density.noisy_rows import DensityError

__all__ = ["from_astroml", "from_sklearn", "to_astroml", "to_sklearn"]


def to_sklearn(weights, means, covariances):
    """Make a fitted `sklearn.mixture.GaussianMixture`.

    Parameters
    ----------
    weights : (K,) array
        Weights.
    means : (K, D) array
        Means.
    covariances : (K, D, D) array
        Covariances.

    Returns
    -------
    `sklearn.mixture.GaussianMixture`
        With full covariances.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError:
        raise ImportError("to_sklearn needs scikit-learn: python -m pip install scikit-learn") from None
    model = GaussianMixture(len(weights), covariance_type="full")
    model.weights_, model.means_, model.covariances_ = (np.array(value) for value in (weights, means, covariances))
    # scikit-learn keeps the upper factor U of the precision U U'
    lower = np.linalg.cholesky(model.covariances_)
    model.precisions_cholesky_ = np.swapaxes(np.linalg.inv(lower), 1, 2)
    model.precisions_ = model.precisions_cholesky_ @ np.swapaxes(model.precisions_cholesky_, 1, 2)
    model.n_features_in_ = means.shape[1]
    model.converged_ = True
    return model


def from_sklearn(model):
    """Weights, means and full covariances of a fitted mixture of scikit-learn.

    Parameters
    ----------
    model : `sklearn.mixture.GaussianMixture` or `sklearn.mixture.BayesianGaussianMixture`
        Fitted, with covariances of any type.

    Returns
    -------
    weights, means, covariances : array
        Of shapes (K,), (K, D), (K, D, D).

    Raises
    ------
    DensityError
        If it is not fitted, or is something else.
    """
    missing = [name for name in ("weights_", "means_", "covariances_", "covariance_type") if not hasattr(model, name)]
    if missing:
        raise DensityError(f"model: expected a fitted mixture of scikit-learn, got {type(model).__name__} without "
                           f"{', '.join(missing)}; call its fit first")
    means, covariances = np.asarray(model.means_), np.asarray(model.covariances_)
    unit = np.eye(means.shape[1])
    expand = {"full": lambda: covariances, "diag": lambda: covariances[:, :, None] * unit,
              "tied": lambda: np.repeat(covariances[None], len(means), axis=0),
              "spherical": lambda: covariances[:, None, None] * unit}
    if model.covariance_type not in expand:
        raise DensityError(f"model: its covariance_type is {model.covariance_type!r}, expected one of "
                           f"{', '.join(expand)}; set it to what the shape of covariances_ is")
    return model.weights_, means, expand[model.covariance_type]()


def to_astroml(weights, means, covariances):
    """Make a fitted `astroML.density_estimation.XDGMM`.

    Parameters
    ----------
    weights : (K,) array
        Weights.
    means : (K, D) array
        Means.
    covariances : (K, D, D) array
        Covariances.

    Returns
    -------
    `astroML.density_estimation.XDGMM`
        As if fitted.

    Raises
    ------
    ImportError
        If astroML is not installed.
    """
    try:
        from astroML.density_estimation import XDGMM
    except ImportError:
        raise ImportError("to_astroml needs astroML: python -m pip install astroML") from None
    model = XDGMM(len(weights))
    model.alpha, model.mu, model.V = (np.array(value) for value in (weights, means, covariances))
    return model


def from_astroml(model):
    """Weights, means and covariances of a fitted mixture of astroML.

    Parameters
    ----------
    model : `astroML.density_estimation.XDGMM`
        Fitted; any object with the attributes ``alpha``, ``mu`` and ``V`` will do.

    Returns
    -------
    weights, means, covariances : array
        Of shapes (K,), (K, D), (K, D, D).

    Raises
    ------
    DensityError
        If it is not fitted, or is something else.
    """
    values = [getattr(model, name, None) for name in ("alpha", "mu", "V")]
    if any(value is None for value in values):
        raise DensityError(f"model: expected a fitted XDGMM of astroML, got {type(model).__name__} without alpha, mu "
                           "and V; call its fit first")
    return tuple(values)
