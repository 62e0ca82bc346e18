"""Fit, refit the prior, fit: catalogue and prior in turns."""

from celestepy.priors.catalog_fit import PriorFit

__all__ = ["iterate"]


def iterate(make_catalog, interim, rounds, *, settings=None, name="fitted", rng=None):
    """Learn a prior from a catalogue, make the catalogue again with it, and so on.

    Since the prior of each catalogue is divided out, a second round is not needed to undo the first prior, but to move
    the draws to where the new one has its weight: it helps where the prior to begin with is far from the population.

    Parameters
    ----------
    make_catalog : callable
        Makes the `~celestepy.catalog.Catalog` with a given prior, such as
        ``lambda prior: celestepy.pipeline.make_catalog(images, method="calibrated", prior=prior).catalog``.
    interim : `~celestepy.model.priors.Prior`
        The prior to begin with.
    rounds : int
        How many times to make the catalogue and fit the prior.
    settings : `~celestepy.priors.PriorFit`, optional
        Settings of the fits.
    name : str
        Name of the new priors.
    rng : int or `numpy.random.Generator`, optional
        Seed or generator of the fits.

    Yields
    ------
    `~celestepy.priors.FittedPrior`
        After every round.
    """
    settings = PriorFit() if settings is None else settings
    for _ in range(rounds):
        fitted = settings.fit(make_catalog(interim), interim, name=name, rng=rng)
        yield fitted
        interim = fitted.prior
