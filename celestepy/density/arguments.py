"""Arguments of the methods of mixtures, checked before anything is done with them."""

from collections.abc import Iterable
from numbers import Integral

import numpy as np
from astropy.units import Quantity, dimensionless_unscaled

from celestepy.density.noisy_rows import DensityError
from celestepy.density.parameters import finite_numbers

__all__ = [
    "check_dimensions",
    "check_jobs",
    "combination",
    "known_numbers",
    "mapping",
    "number_of_draws",
    "random_generator",
    "refuse_units",
    "sequence",
]


def number_of_draws(name, n):
    """Check a number of draws.

    Parameters
    ----------
    name : str
        Name of the argument.
    n : int
        The number.

    Returns
    -------
    int
        The same.

    Raises
    ------
    DensityError
        If it is no whole number, or negative.
    """
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 0:
        raise DensityError(f"{name}: {n!r}, expected a number of draws: an integer from 0 on")
    return int(n)


def random_generator(rng):
    """Make a source of random numbers.

    Parameters
    ----------
    rng : `numpy.random.Generator`, int or None
        The source itself, a seed, or nothing for another one each time.

    Returns
    -------
    `numpy.random.Generator`
        The source.

    Raises
    ------
    DensityError
        If it is none of these.
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise DensityError(f"rng: {rng!r}, expected a seed, an integer from 0 on, a numpy.random.Generator, or "
                           "None") from None


def check_jobs(n_jobs):
    """Check a number of threads.

    Parameters
    ----------
    n_jobs : int or None
        The number, as joblib understands it: negative ones count from the number of cores, -1 being all of them.

    Raises
    ------
    DensityError
        If it is zero or no whole number.
    """
    if n_jobs is not None and (not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0):
        raise DensityError(f"n_jobs: {n_jobs!r}, expected a number of threads from 1 on, or -1 for one for each core")


def check_dimensions(rows, n_dims):
    """Tell rows that do not go with a mixture.

    Parameters
    ----------
    rows : `~celestepy.density.noisy_rows.NoisyRows`
        The rows.
    n_dims : int
        Dimensions of the mixture.

    Raises
    ------
    DensityError
        If the rows are of vectors in another number of dimensions.
    """
    if rows.dim != n_dims:
        argument = "X" if rows.projection is None else "projection"
        raise DensityError(f"{argument}: for a mixture in {n_dims} dimensions, but this has {rows.dim} columns; "
                           "marginalize the mixture, or give projections of the right shape")


def mapping(name, value):
    """Take something with keys and values as a dictionary.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : mapping
        Anything with ``items``.

    Returns
    -------
    dict
        Its keys and values.

    Raises
    ------
    DensityError
        If it has none.
    """
    if not callable(getattr(value, "items", None)):
        raise DensityError(f"{name}: {value!r}, expected a mapping from dimensions to their values, as in "
                           "{0: 1.5} or {'name': 1.5}")
    return dict(value.items())


def sequence(name, value, things):
    """Take something with elements as a tuple, and a string as a tuple of one.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : iterable or str
        The elements.
    things : str
        What is expected, for the message.

    Returns
    -------
    tuple
        The elements.

    Raises
    ------
    DensityError
        If it has no elements.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise DensityError(f"{name}: {value!r}, expected a sequence of {things}; put one alone into a list: "
                           f"[{value!r}]")
    return tuple(value)


def refuse_units(**given):
    """Refuse numbers with a unit, which would be lost: nothing here knows the units of the mixture.

    Parameters
    ----------
    **given : object
        Arguments by name.

    Raises
    ------
    DensityError
        If one is a `~astropy.units.Quantity` with a unit.
    """
    for name, value in given.items():
        if isinstance(value, Quantity) and value.unit != dimensionless_unscaled:
            raise DensityError(f"{name}: a Quantity in {value.unit}, expected plain numbers, because a mixture knows "
                               "no units; give those in its units, by .to_value(unit)")


def known_numbers(name, value):
    """Copy an argument into an array of numbers, none of which may be missing.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : array_like
        Numbers.

    Returns
    -------
    array of float64
        A copy.

    Raises
    ------
    DensityError
        If it is something else, is masked anywhere, or a number is not finite.
    """
    refuse_units(**{name: value})
    if np.ma.is_masked(value):
        raise DensityError(f"{name}: masked at {np.argwhere(np.ma.getmaskarray(value))[0].tolist()}, expected numbers "
                           "that are all known; fill the masked ones or leave them out")
    return finite_numbers(name, value)


def combination(mixture, matrix, offset):
    """Check linear combinations of the dimensions of a mixture.

    Parameters
    ----------
    mixture : GaussianMixture
        In D dimensions.
    matrix : (C, D) array_like
        Coefficients.
    offset : (C,) array_like or float
        What is added.

    Returns
    -------
    matrix, offset : array
        Copies.

    Raises
    ------
    DensityError
        If a shape is wrong, or the combinations depend on one another, so that they have no density.
    """
    matrix, offset = known_numbers("matrix", matrix), known_numbers("offset", offset)
    if matrix.ndim != 2 or matrix.shape[1] != mixture.n_dims or len(matrix) == 0:
        raise DensityError(f"matrix: expected shape (C, {mixture.n_dims}), one column for each dimension of the "
                           f"mixture, got {matrix.shape}")
    if offset.shape not in ((), matrix.shape[:1]):
        raise DensityError(f"offset: expected one number, or shape {matrix.shape[:1]}, one for each row of the matrix, "
                           f"got {offset.shape}")
    # in units in which all scales are of order one: they may differ by any factor
    scaled = matrix * np.sqrt(np.diagonal(mixture.covariance))
    largest = np.abs(scaled).max(axis=1, keepdims=True)
    rank = np.linalg.matrix_rank(scaled / np.where(largest > 0, largest, 1.0))
    if rank < len(matrix):
        raise DensityError(f"matrix: of rank {rank}, expected {len(matrix)}, the number of its rows: some combinations "
                           "follow from the others and have no density; leave them out")
    return matrix, offset
