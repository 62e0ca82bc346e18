# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Importance draws of log fluxes in vectors: weights, evidence and moments (see _fluxes.pyx)."""

from libc.math cimport exp, fmax, log
from libc.string cimport memset

from celestepy._simd cimport VD_WIDTH, vd, vd_allocate, vd_exp, vd_max, vd_splat, vd_sum
from celestepy.inference._flux_density cimport MAX_BANDS, Normal, Problem, excess
from celestepy.inference._flux_proposals cimport Proposal

cdef extern from "_simd.h" nogil:
    vd vd_zero_if_less(vd a, vd b, vd x) noexcept      # x, but 0 where a < b

cdef extern from *:
    """
    /* A vector of draws that together weigh less adds nothing to a component's moments. */
    #define NOTHING 1e-12
    """
    double NOTHING

cdef struct Draws:          # planes of vectors
    Py_ssize_t n_vectors
    vd* x                   # (n_vectors, n)
    vd* f                   # (n_vectors, n), exp(x)
    vd* shares              # (n_vectors, proposals)
    vd* ratio               # importance weights
    vd* level               # their logarithms, of which `ratio` is the mantissa


cdef inline bint allocate(Draws* draws, Py_ssize_t n_draws, int n_proposals, int n) noexcept nogil:
    draws.n_vectors = (n_draws + VD_WIDTH - 1) // VD_WIDTH
    draws.x = <vd*>vd_allocate(draws.n_vectors * (2 * n + n_proposals + 2) * sizeof(vd))
    if draws.x == NULL:
        return False
    memset(draws.x, 0, draws.n_vectors * n * sizeof(vd))
    draws.f = draws.x + draws.n_vectors * n
    draws.shares = draws.f + draws.n_vectors * n
    draws.ratio = draws.shares + draws.n_vectors * n_proposals
    draws.level = draws.ratio + draws.n_vectors
    return True


cdef inline vd log_likelihood(const Problem* p, const vd* x, vd* f) noexcept nogil:
    """-1/2 (f - f0)' I (f - f0); fills f = exp(x)."""
    cdef int a, b, n = p.n
    cdef vd[MAX_BANDS] residual
    cdef vd total = vd_splat(0.), row
    for a in range(n):
        f[a] = vd_exp(x[a])
        residual[a] = f[a] - vd_splat(p.fluxes[a])
        row = vd_splat(.5 * p.information[a * (n + 1)]) * residual[a]
        for b in range(a):
            row = row + vd_splat(p.information[a * n + b]) * residual[b]
        total = total - row * residual[a]
    return total


cdef inline vd log_prior(const Normal* priors, int n_components, const vd* x, int n, vd* logs) noexcept nogil:
    """Largest log density over the components; those of all of them."""
    cdef int j, a, b
    cdef vd top = vd_splat(-1e300), total, white
    cdef vd[MAX_BANDS] offset
    for j in range(n_components):
        total = vd_splat(0.)
        for a in range(n):
            offset[a] = x[a] - vd_splat(priors[j].mean[a])
            white = vd_splat(0.)
            for b in range(a + 1):
                white = white + vd_splat(priors[j].whitener[a * n + b]) * offset[b]
            total = total + white * white
        logs[j] = vd_splat(priors[j].log_norm) - vd_splat(.5) * total
        top = vd_max(top, logs[j])
    return top


cdef inline vd log_proposal(
    const Proposal* proposals, int n_proposals, const vd* x, const int* order, int n, vd* logs, vd* factors
) noexcept nogil:
    """As `log_prior`, the factors being the inverse widths of the sides on which the draws lie."""
    cdef int k, a, b
    cdef vd top = vd_splat(-1e300), total, white, inverse
    cdef vd[MAX_BANDS] offset
    cdef double below, above
    for k in range(n_proposals):
        total = vd_splat(0.)
        factors[k] = vd_splat(1.)
        for a in range(n):
            offset[a] = x[order[a]] - vd_splat(proposals[k].mean[order[a]])
            white = vd_splat(0.)
            for b in range(a + 1):
                white = white + vd_splat(proposals[k].whitener[a * n + b]) * offset[b]
            below, above = 1. / proposals[k].scale[a], 1. / proposals[k].scale[n + a]
            inverse = vd_splat(below) + vd_zero_if_less(white, vd_splat(0.), vd_splat(above - below))
            white = white * inverse
            factors[k] = factors[k] * inverse
            total = total + white * white
        logs[k] = vd_splat(proposals[k].log_norm) - vd_splat(.5) * total
        top = vd_max(top, logs[k])
    return top


cdef inline void weigh(
    const Problem* p, const Normal* priors, int n_components, const Proposal* proposals, int n_proposals,
    const int* order, Draws* draws, vd* logs
) noexcept nogil:
    """Target over proposal density of each draw, and its shares in the proposals."""
    cdef Py_ssize_t v
    cdef int j, k, lane, n = p.n
    cdef const vd* x
    cdef vd* shares
    cdef vd* factors = logs + n_components
    cdef vd top, density, sum_, all_
    cdef double* level
    for v in range(draws.n_vectors):
        x = draws.x + v * n
        draws.level[v] = log_likelihood(p, x, draws.f + v * n)
        if p.law.band >= 0:
            level = <double*>(draws.level + v)
            for lane in range(VD_WIDTH):
                level[lane] += excess(&p.law, (<const double*>(x + p.law.band))[lane]).value
        top = log_prior(priors, n_components, x, n, logs)
        sum_ = vd_splat(0.)
        for j in range(n_components):
            sum_ = sum_ + vd_exp(logs[j] - top)
        draws.level[v] = draws.level[v] + top
        shares = draws.shares + v * n_proposals
        top = log_proposal(proposals, n_proposals, x, order, n, shares, factors)
        draws.level[v] = draws.level[v] - top
        density = all_ = vd_splat(0.)
        for k in range(n_proposals):
            shares[k] = vd_exp(shares[k] - top) * factors[k]
            density = density + shares[k]
            shares[k] = shares[k] * vd_splat(exp(proposals[k].log_weight) / proposals[k].n_draws)
            all_ = all_ + shares[k]
        draws.ratio[v] = sum_ / density
        for k in range(n_proposals):
            shares[k] = shares[k] / all_


cdef inline double scale_ratios(
    Draws* draws, Py_ssize_t n_draws, double* ratio_sum, double* square_sum
) noexcept nogil:
    """Bring the ratios to one scale, return its logarithm, sum them; lanes beyond the draws become zero."""
    cdef Py_ssize_t i, n = draws.n_vectors * VD_WIDTH
    cdef double* ratio = <double*>draws.ratio
    cdef const double* level = <const double*>draws.level
    cdef double top = -1e300
    for i in range(n_draws):
        top = fmax(top, level[i])
    ratio_sum[0] = square_sum[0] = 0.
    for i in range(n):
        ratio[i] = ratio[i] * exp(level[i] - top) if i < n_draws else 0.
        ratio_sum[0] += ratio[i]
        square_sum[0] += ratio[i] * ratio[i]
    return top


cdef inline void add_moments(
    const Draws* draws, int k, int n_proposals, int n, const double* centre, const double* flux, vd* sums
) noexcept nogil:
    """Sums over the draws of share times 1, dx, df, dx dx', df df' and dx df' about a centre."""
    cdef Py_ssize_t v
    cdef int a, b
    cdef vd share, x, f
    cdef vd[MAX_BANDS] dx, df
    cdef vd* square_x = sums + 1 + 2 * n
    cdef vd* square_f = square_x + n * n
    cdef vd* cross = square_f + n * n
    memset(sums, 0, (1 + 2 * n + 3 * n * n) * sizeof(vd))
    for v in range(draws.n_vectors):
        share = draws.shares[v * n_proposals + k] * draws.ratio[v]
        if vd_sum(share) < NOTHING:
            continue
        sums[0] = sums[0] + share
        for a in range(n):
            dx[a] = draws.x[v * n + a] - vd_splat(centre[a])
            df[a] = draws.f[v * n + a] - vd_splat(flux[a])
        for a in range(n):
            x = share * dx[a]
            f = share * df[a]
            sums[1 + a] = sums[1 + a] + x
            sums[1 + n + a] = sums[1 + n + a] + f
            for b in range(n):
                cross[a * n + b] = cross[a * n + b] + x * df[b]
            for b in range(a + 1):
                square_x[a * n + b] = square_x[a * n + b] + x * dx[b]
                square_f[a * n + b] = square_f[a * n + b] + f * df[b]


cdef inline void write_moments(
    const vd* sums, int n, const double* centre, const double* flux, double* out
) noexcept nogil:
    """Weight, means and covariances from the sums, in one row: 1, x, f, xx', ff', xf'."""
    cdef int a, b, i, j
    cdef double weight = vd_sum(sums[0])
    cdef double[MAX_BANDS] dx, df
    cdef const vd* square_x = sums + 1 + 2 * n
    cdef const vd* square_f = square_x + n * n
    cdef const vd* cross = square_f + n * n
    cdef double* covariance = out + 1 + 2 * n
    out[0] = weight
    for a in range(n):
        dx[a] = vd_sum(sums[1 + a]) / weight if weight > 0. else 0.
        df[a] = vd_sum(sums[1 + n + a]) / weight if weight > 0. else 0.
        out[1 + a] = centre[a] + dx[a]
        out[1 + n + a] = flux[a] + df[a]
    for a in range(n):
        for b in range(n):
            i = a * n + b if b <= a else b * n + a
            j = a * n + b
            covariance[j] = vd_sum(square_x[i]) / weight - dx[a] * dx[b] if weight > 0. else 0.
            covariance[n * n + j] = vd_sum(square_f[i]) / weight - df[a] * df[b] if weight > 0. else 0.
            covariance[2 * n * n + j] = vd_sum(cross[j]) / weight - dx[a] * df[b] if weight > 0. else 0.


cdef inline void summarise(
    Draws* draws, const Proposal* proposals, int n_proposals, int n_draws, int n, double* evidence,
    double* out, vd* sums
) noexcept nogil:
    """Evidence, effective draws, and the moments of every proposal's share."""
    cdef int k, a
    cdef double total, squares, top
    cdef double[MAX_BANDS] flux
    top = scale_ratios(draws, n_draws, &total, &squares)
    evidence[0] = top + log(total / n_draws)
    evidence[1] = total * total / squares
    for k in range(n_proposals):
        for a in range(n):
            flux[a] = exp(proposals[k].mean[a])
        add_moments(draws, k, n_proposals, n, proposals[k].mean, flux, sums)
        write_moments(sums, n, proposals[k].mean, flux, out + k * (1 + 2 * n + 3 * n * n))
        out[k * (1 + 2 * n + 3 * n * n)] /= total
