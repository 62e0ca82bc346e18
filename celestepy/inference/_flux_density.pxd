# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The log posterior of log fluxes x under one component of the prior, and its mode (see fluxes.py).

    l_j(x) = -1/2 (e^x - f)' I (e^x - f) + ln N_j(x) + excess(x_r),

with f and I the fluxes measured and their information, N_j a normal density, and the excess of the exact law
of the brightness in the reference band r over its quadratic expansion, which the mixture of all N_j contains.
"""

from libc.math cimport exp, fabs, fmax, fmin, log1p

from celestepy.inference._cholesky cimport cholesky, solve

cdef enum:
    MAX_BANDS = 16
    MAX_ITERATIONS = 40
    LIMIT = 30              # of log fluxes: their exponentials stay finite, and nothing real is near

cdef struct Law:            # of the brightness, logit of a Beta variate (prior_laws.py); not used if band < 0
    int band
    double a, b, location, scale, log_normalisation
    double at, value, first, precision      # the expansion that the mixture contains

cdef struct Slope:          # a function of one variable and its derivatives
    double value, first, second

cdef struct Normal:         # a component of the prior; log_norm: of its weight times normalisation
    double log_norm
    double* mean
    double* whitener        # inverse root of the covariance
    double* precision

cdef struct Problem:
    int n                   # bands
    double[MAX_BANDS] fluxes
    double[MAX_BANDS * MAX_BANDS] information
    Law law


cdef inline Slope excess(const Law* law, double x) noexcept nogil:
    """Exact law less its expansion about ``at``."""
    cdef Slope result
    cdef double d, t, e, both = law.a + law.b, share
    if law.band < 0:
        result.value = result.first = result.second = 0.
        return result
    d = x - law.at
    t = (x - law.location) / law.scale
    e = exp(-fabs(t))
    share = (1. if t > 0. else e) / (1. + e)
    result.value = law.log_normalisation + law.a * t - both * (fmax(t, 0.) + log1p(e))
    result.value -= law.value + law.first * d - .5 * law.precision * d * d
    result.first = (law.a - both * share) / law.scale - law.first + law.precision * d
    result.second = law.precision - both * share * (1. - share) / (law.scale * law.scale)
    return result


cdef inline double log_joint(const Problem* p, const Normal* prior, const double* x) noexcept nogil:
    """l_j(x)."""
    cdef int a, b, n = p.n
    cdef double[MAX_BANDS] residual
    cdef double value = prior.log_norm, likelihood = 0., total
    for a in range(n):
        residual[a] = exp(x[a]) - p.fluxes[a]
        total = 0.
        for b in range(a):
            likelihood -= residual[a] * p.information[a * n + b] * residual[b]
            total += prior.whitener[a * n + b] * (x[b] - prior.mean[b])
        likelihood -= .5 * residual[a] * p.information[a * n + a] * residual[a]
        total += prior.whitener[a * n + a] * (x[a] - prior.mean[a])
        value -= .5 * total * total
    if p.law.band >= 0:
        value += excess(&p.law, x[p.law.band]).value
    return value + likelihood


cdef inline void derivatives(
    const Problem* p, const Normal* prior, const double* x, double* gradient, double* curvature
) noexcept nogil:
    """Gradient and a positive definite curvature: minus the Hessian, or Gauss-Newton where it is not."""
    cdef int a, b, n = p.n
    cdef double[MAX_BANDS] f, slope
    cdef double[MAX_BANDS * MAX_BANDS] root
    cdef double score
    cdef Slope law
    for a in range(n):
        f[a] = exp(x[a])
    for a in range(n):
        score = 0.
        gradient[a] = 0.
        for b in range(n):
            score += p.information[a * n + b] * (p.fluxes[b] - f[b])
            gradient[a] -= prior.precision[a * n + b] * (x[b] - prior.mean[b])
            curvature[a * n + b] = prior.precision[a * n + b] + f[a] * p.information[a * n + b] * f[b]
        slope[a] = f[a] * score
        gradient[a] += slope[a]
    if p.law.band >= 0:
        law = excess(&p.law, x[p.law.band])
        gradient[p.law.band] += law.first
        curvature[p.law.band * (n + 1)] -= law.second
    for a in range(n * n):
        root[a] = curvature[a]
    for a in range(n):
        root[a * (n + 1)] -= slope[a] + 1e-3
    if cholesky(root, n):
        for a in range(n):
            curvature[a * (n + 1)] -= slope[a]


cdef inline double find_mode(
    const Problem* p, const Normal* prior, double* x, double* curvature
) noexcept nogil:
    """Move x to the mode by damped Newton steps; fill the curvature there and return the value."""
    cdef int a, iteration, n = p.n
    cdef double[MAX_BANDS] gradient, trial
    cdef double[MAX_BANDS * MAX_BANDS] root
    cdef double value = log_joint(p, prior, x), trial_value, gain, largest, damping = 1e-3
    for iteration in range(MAX_ITERATIONS):
        derivatives(p, prior, x, gradient, curvature)
        for a in range(n * n):
            root[a] = curvature[a]
        for a in range(n):
            root[a * (n + 1)] += damping
        cholesky(root, n)
        solve(root, gradient, n)
        largest = 0.
        for a in range(n):
            largest = fmax(largest, fabs(gradient[a]))
        for a in range(n):
            trial[a] = x[a] + gradient[a] * fmin(1., 3. / largest) if largest > 0. else x[a]
            trial[a] = fmin(fmax(trial[a], -LIMIT), LIMIT)
        trial_value = log_joint(p, prior, trial)
        gain = trial_value - value
        if gain < -1e-9:
            damping = 10. * damping + 1.
            continue
        for a in range(n):
            x[a] = trial[a]
        value = trial_value
        damping *= .1
        if gain < 1e-4:
            break
    derivatives(p, prior, x, gradient, curvature)
    return value
