# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Importance sampling of the posterior of log fluxes (see fluxes.py, and _flux_density.pxd for the density).

The proposal is a mixture. About the mode under each component of the prior it has a normal density whose axes
are those of the Cholesky root of the covariance, the best-measured band first, and whose width differs
between the two sides of each axis (Geweke 1989): posteriors of log fluxes have long tails towards zero flux.
Where the posterior does not end in that direction, the component of the prior itself is added.
"""

from libc.stdlib cimport free, malloc

from celestepy._simd cimport vd, vd_allocate, vd_free
from celestepy.inference._flux_density cimport MAX_BANDS, Normal, Problem, find_mode
from celestepy.inference._flux_draws cimport Draws, allocate, summarise, weigh
from celestepy.inference._flux_proposals cimport (
    Proposal,
    draw,
    keep,
    lay_out,
    n_doubles,
    order_bands,
    propose,
    propose_prior,
    set_normal,
    start,
)

MAX_N_BANDS = MAX_BANDS     # size of the work space; fluxes.py checks it


cdef void set_problem(Problem* p, const double[::1] fluxes, const double[:, ::1] information,
                      const double[::1] law) noexcept nogil:
    cdef int a, b
    p.n = fluxes.shape[0]
    for a in range(p.n):
        p.fluxes[a] = fluxes[a]
        for b in range(p.n):
            p.information[a * p.n + b] = information[a, b]
    p.law.band = -1
    if law.shape[0]:
        p.law.band = <int>law[0]
        p.law.a, p.law.b, p.law.location, p.law.scale = law[1], law[2], law[3], law[4]
        p.law.log_normalisation = law[5]
        p.law.at, p.law.value, p.law.first, p.law.precision = law[6], law[7], law[8], law[9]


def find_highest(
    const double[::1] fluxes, const double[:, ::1] information, const double[::1] law,
    const double[::1] log_weights, const double[:, ::1] means, const double[:, :, ::1] covariances,
    const double[:, ::1] typical, double[::1] mode
):
    """Fill the highest mode over the components; False if a covariance is not positive definite."""
    cdef Problem p
    cdef Normal prior
    cdef double[MAX_BANDS * (1 + 2 * MAX_BANDS)] memory
    cdef int[MAX_BANDS] order
    cdef double[MAX_BANDS] x
    cdef double[MAX_BANDS * MAX_BANDS] curvature
    cdef double value, highest = -1e300
    cdef bint is_valid = True
    cdef int j, a
    with nogil:
        set_problem(&p, fluxes, information, law)
        order_bands(&p, order)
        lay_out(&prior, NULL, 1, 0, p.n, memory)
        for j in range(log_weights.shape[0]):
            is_valid &= set_normal(&prior, log_weights[j], &means[j, 0], &covariances[j, 0, 0], p.n)
            if not is_valid:
                break
            start(&p, &typical[j, 0], order[0], x)
            value = find_mode(&p, &prior, x, curvature)
            if value > highest:
                highest = value
                for a in range(p.n):
                    mode[a] = x[a]
    return is_valid


cdef int propose_all(
    const Problem* p, const Normal* priors, int n_components, const double[::1] wide_log_weights,
    const double[:, ::1] typical, const double[:, :, ::1] wide, const int* order, Proposal* proposals
) noexcept nogil:
    """Proposals of all components, and behind them those of the prior itself; their number."""
    cdef int j, n_proposals = n_components
    for j in range(n_components):
        if propose(p, &priors[j], &typical[j, 0], order, &proposals[j]):
            propose_prior(
                p, wide_log_weights[j], &typical[j, 0], &wide[j, 0, 0], order, &proposals[n_proposals])
            n_proposals += 1
    return n_proposals


def integrate(
    const double[::1] fluxes, const double[:, ::1] information, const double[::1] law,
    const double[::1] log_weights, const double[:, ::1] means, const double[:, :, ::1] covariances,
    const double[::1] wide_log_weights, const double[:, ::1] typical, const double[:, :, ::1] wide,
    const double[:, ::1] points, const double[:, ::1] few, double[::1] evidence, double[:, ::1] out
):
    """Fill log evidence and effective draws, and a row of moments for each proposal; return their number.

    A negative number means: no memory (-1), or the covariance of component -2 - number is not positive
    definite.
    """
    cdef int n = fluxes.shape[0], n_components = log_weights.shape[0], n_proposals = 0, n_draws, j, first = 0
    cdef bint is_major
    cdef Problem p
    cdef Draws draws
    cdef int[MAX_BANDS] order
    cdef Normal* priors = <Normal*>malloc(n_components * sizeof(Normal))
    cdef Proposal* proposals = <Proposal*>malloc(2 * n_components * sizeof(Proposal))
    cdef double* memory = <double*>malloc(n_doubles(n_components, n) * sizeof(double))
    cdef vd* scratch = <vd*>vd_allocate((3 * n_components + 1 + 2 * n + 3 * n * n) * sizeof(vd))
    draws.x = NULL
    with nogil:
        if priors == NULL or proposals == NULL or memory == NULL or scratch == NULL:
            n_proposals = -1
        else:
            lay_out(priors, proposals, n_components, 2 * n_components, n, memory)
            set_problem(&p, fluxes, information, law)
            order_bands(&p, order)
            for j in range(n_components):
                if not set_normal(&priors[j], log_weights[j], &means[j, 0], &covariances[j, 0, 0], n):
                    n_proposals = -2 - j
        if n_proposals == 0:
            n_proposals = propose_all(
                &p, priors, n_components, wide_log_weights, typical, wide, order, proposals)
            n_proposals = keep(proposals, n_proposals, points.shape[0], few.shape[0], &n_draws)
            if not allocate(&draws, n_draws, n_proposals, n):
                n_proposals = -1
        if n_proposals > 0:
            for j in range(n_proposals):
                is_major = proposals[j].n_draws == points.shape[0]
                draw(&proposals[j], &points[0, 0] if is_major else &few[0, 0], order, n, first, draws.x)
                first += proposals[j].n_draws
            weigh(&p, priors, n_components, proposals, n_proposals, order, &draws, scratch)
            summarise(&draws, proposals, n_proposals, n_draws, n, &evidence[0], &out[0, 0],
                      scratch + 3 * n_components)
    free(priors)
    free(proposals)
    free(memory)
    vd_free(scratch)
    vd_free(draws.x)
    return n_proposals


def expand(
    const double[::1] log_weights, const double[:, ::1] centres, const double[:, :, ::1] covariances,
    const double[:, ::1] slopes, const double[:, ::1] matrix, double mean, double variance, double offset,
    double log_height, double[::1] out_log_weights, double[:, ::1] out_means, double[:, :, ::1]
    out_covariances
):
    """Fill the normal mixture of log fluxes of colour components (J, C) and a normal law of the brightness.

    ``offset`` is the mean less the pivot, ``matrix`` (B, B) takes log flux and colours to log fluxes.
    """
    cdef int n = matrix.shape[0], j, a, b, c, d
    cdef double[MAX_BANDS] direction
    cdef double total
    for j in range(log_weights.shape[0]):
        out_log_weights[j] = log_weights[j] + log_height
        for a in range(n):
            direction[a] = 1.
            out_means[j, a] = mean
            for c in range(n - 1):
                direction[a] += matrix[a, c + 1] * slopes[j, c]
                out_means[j, a] += matrix[a, c + 1] * (centres[j, c] + slopes[j, c] * offset)
        for a in range(n):
            for b in range(n):
                total = direction[a] * direction[b] * variance
                for c in range(n - 1):
                    for d in range(n - 1):
                        total += matrix[a, c + 1] * covariances[j, c, d] * matrix[b, d + 1]
                out_covariances[j, a, b] = total
