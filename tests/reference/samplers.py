"""The samplers as their papers print them: one chain, one point at a time, loops."""

import numpy as np


def slice_sweep(log_density, x, rng, widths, max_steps):
    """One update of each coordinate: Neal (2003), figures 3 (stepping out) and 5 (shrinkage)."""
    x = np.array(x, dtype=float)
    for j, width in enumerate(widths):

        def f(t, j=j, width=width):
            moved = x.copy()
            moved[j] += t * width
            return log_density(moved)

        level = f(0.0) - rng.standard_exponential()
        left = -rng.random()
        right = left + 1.0
        if max_steps > 1:
            to_the_left = rng.integers(max_steps)
            to_the_right = max_steps - 1 - to_the_left
            while to_the_left > 0 and f(left) > level:
                left, to_the_left = left - 1, to_the_left - 1
            while to_the_right > 0 and f(right) > level:
                right, to_the_right = right + 1, to_the_right - 1
        while True:
            t = left + (right - left) * rng.random()
            if f(t) >= level:
                break
            if t < 0:
                left = t
            else:
                right = t
        x[j] += t * width
    return x


def annealed_run(log_density, log_reference, x, temperatures, rng, widths, max_steps):
    """One run of Neal (2001): its end state and log weight, each ratio at the state before the transition."""
    log_weight = 0.0
    for before, after in zip(temperatures[:-1], temperatures[1:]):

        def bridge(x, g):
            return (1 - g) * log_reference(x) + g * log_density(x)

        log_weight += bridge(x, after) - bridge(x, before)
        x = slice_sweep(lambda x, g=after: bridge(x, g), x, rng, widths, max_steps)
    return x, log_weight


def student_density(x, mean, covariance, df):
    """Multivariate Student t at one point, by scipy."""
    from scipy.stats import multivariate_normal, multivariate_t

    if np.isinf(df):
        return multivariate_normal.pdf(x, mean, covariance)
    return multivariate_t.pdf(x, mean, covariance, df)


def ranked_r_hat(draws):
    """Split R-hat of one parameter's chains without rank normalisation, from its definition; draws (C, n)."""
    half = draws.shape[1] // 2
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])
    within = np.mean(np.var(halves, axis=1, ddof=1))
    between = np.var(np.mean(halves, axis=1), ddof=1)
    return np.sqrt(((half - 1) / half * within + between) / within)
