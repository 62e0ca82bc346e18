# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The proposals of the importance sampling of log fluxes, and draws from them (see _fluxes.pyx)."""

from libc.math cimport exp, fmax, fmin, log, sqrt

from celestepy._simd cimport VD_WIDTH, vd
from celestepy.inference._cholesky cimport cholesky, invert_root, square
from celestepy.inference._flux_density cimport LIMIT, MAX_BANDS, Normal, Problem, find_mode, log_joint

cdef extern from *:
    """
    #define N_REACHES 3
    /* Steps along an axis, in standard deviations, at which the fall of the log density gives a width. */
    static const double REACHES[N_REACHES] = {1., 2., 3.5};
    /* Limits of a width. */
    #define NARROWEST 0.6
    #define WIDEST 4.0
    /* The tail to zero flux is followed where 3 or 4.5 e-folds down the log density has fallen by less. */
    #define TAIL 9.0
    /* Components with a smaller share are given fewer draws, and below the other limit none. */
    #define MINOR_SHARE 0.02
    #define LEAST_LOG_SHARE -10.0
    #define LOG_2PI 1.8378770664093454836
    """
    int N_REACHES
    const double* REACHES
    double NARROWEST, WIDEST, TAIL, MINOR_SHARE, LEAST_LOG_SHARE, LOG_2PI

cdef struct Proposal:
    int n_draws
    double log_weight       # of the mixture component that it stands for
    double log_norm         # log of normalisation times share of the draws
    double* mean
    double* root            # rows in the order of the bands' signal to noise, as in the whitener
    double* whitener
    double* scale           # of each axis below the mean, and then above


cdef inline Py_ssize_t n_doubles(int n_components, int n) noexcept nogil:
    """Memory that as many components and twice as many proposals point to."""
    return n_components * (n + 2 * n * n) + 2 * n_components * (3 * n + 2 * n * n)


cdef inline void lay_out(
    Normal* priors, Proposal* proposals, int n_components, int n_proposals, int n, double* memory
) noexcept nogil:
    """Let the components and proposals point into the memory."""
    cdef int k
    for k in range(n_components):
        priors[k].mean = memory
        priors[k].whitener = memory + n
        priors[k].precision = memory + n + n * n
        memory += n + 2 * n * n
    for k in range(n_proposals):
        proposals[k].mean = memory
        proposals[k].scale = memory + n
        proposals[k].root = memory + 3 * n
        proposals[k].whitener = memory + 3 * n + n * n
        memory += 3 * n + 2 * n * n


cdef inline void order_bands(const Problem* p, int* order) noexcept nogil:
    """Bands by falling signal to noise."""
    cdef int a, b
    cdef double[MAX_BANDS] snr
    for a in range(p.n):
        snr[a] = p.fluxes[a] * sqrt(fmax(p.information[a * (p.n + 1)], 0.))
        b = a
        while b > 0 and snr[order[b - 1]] < snr[a]:
            order[b] = order[b - 1]
            b -= 1
        order[b] = a


cdef inline bint set_normal(
    Normal* normal, double log_weight, const double* mean, const double* covariance, int n
) noexcept nogil:
    """Prepare a component; False if its covariance is not positive definite."""
    cdef int a
    cdef double[MAX_BANDS * MAX_BANDS] root
    for a in range(n * n):
        root[a] = covariance[a]
    if not cholesky(root, n):
        return False
    invert_root(root, normal.whitener, n)
    square(normal.whitener, normal.precision, n)
    normal.log_norm = log_weight - .5 * n * LOG_2PI
    for a in range(n):
        normal.mean[a] = mean[a]
        normal.log_norm -= log(root[a * (n + 1)])
    return True


cdef inline void start(const Problem* p, const double* typical, int best, double* x) noexcept nogil:
    """The measured flux where it means something, else the prior's colours about the best-measured band."""
    cdef int a
    cdef double floor = 1e-3 * fmax(p.fluxes[best], 1e-3), snr, shift
    cdef double best_snr = p.fluxes[best] * sqrt(fmax(p.information[best * (p.n + 1)], 0.))
    shift = log(fmax(p.fluxes[best], floor)) - typical[best] if best_snr > 2. else 0.
    for a in range(p.n):
        snr = p.fluxes[a] * sqrt(fmax(p.information[a * (p.n + 1)], 0.))
        x[a] = log(fmax(p.fluxes[a], floor)) if best_snr > 2. and snr > 3. else typical[a] + shift
        x[a] = fmin(fmax(x[a], -LIMIT), LIMIT)


cdef inline void set_root(Proposal* q, const double* curvature, const int* order, int n) noexcept nogil:
    """Root of the covariance, which is the inverse of the curvature, in the given order of the bands."""
    cdef int a, b
    cdef double[MAX_BANDS * MAX_BANDS] inverse
    for a in range(n):
        for b in range(n):
            q.root[a * n + b] = curvature[order[a] * n + order[b]]
    cholesky(q.root, n)
    invert_root(q.root, inverse, n)
    square(inverse, q.root, n)
    cholesky(q.root, n)
    invert_root(q.root, q.whitener, n)


cdef inline double width(
    const Problem* p, const Normal* prior, const Proposal* q, const int* order, int axis, int side,
    double value
) noexcept nogil:
    """Width to one side of an axis: of the normal density that covers the log joint's fall at every reach."""
    cdef int a, i, n = p.n
    cdef double[MAX_BANDS] x
    cdef double widest = NARROWEST, fall
    for i in range(N_REACHES):
        for a in range(n):
            x[order[a]] = q.mean[order[a]]
            if a >= axis:
                x[order[a]] += (REACHES[i] if side else -REACHES[i]) * q.root[a * n + axis]
        fall = fmax(value - log_joint(p, prior, x), 1e-3)
        widest = fmax(widest, REACHES[i] / sqrt(2. * fall))
    return fmin(widest, WIDEST)


cdef inline bint reaches_zero(
    const Problem* p, const Normal* prior, const double* mode, double value
) noexcept nogil:
    """Whether much of the posterior lies at fluxes too small to be told from zero."""
    cdef int a, i
    cdef double[MAX_BANDS] x
    for i in range(2, 4):
        for a in range(p.n):
            x[a] = mode[a] - 1.5 * i
        if log_joint(p, prior, x) > value - TAIL:
            return True
    return False


cdef inline bint propose(
    const Problem* p, const Normal* prior, const double* typical, const int* order, Proposal* q
) noexcept nogil:
    """Fit the proposal of one component; whether it reaches zero flux."""
    cdef int axis, side, n = p.n
    cdef double[MAX_BANDS * MAX_BANDS] curvature
    cdef double value
    start(p, typical, order[0], q.mean)
    value = find_mode(p, prior, q.mean, curvature)
    set_root(q, curvature, order, n)
    q.log_weight = value + .5 * n * LOG_2PI
    q.log_norm = -.5 * n * LOG_2PI
    for axis in range(n):
        for side in range(2):
            q.scale[side * n + axis] = width(p, prior, q, order, axis, side, value)
        q.log_weight += log(.5 * q.root[axis * (n + 1)] * (q.scale[axis] + q.scale[n + axis]))
        q.log_norm -= log(q.root[axis * (n + 1)])
    return reaches_zero(p, prior, q.mean, value)


cdef inline void propose_prior(
    const Problem* p, double log_weight, const double* mean, const double* covariance, const int* order,
    Proposal* q
) noexcept nogil:
    """The prior itself, weighed by the likelihood of no flux at all."""
    cdef int a, b, n = p.n
    q.log_weight = log_weight
    q.log_norm = -.5 * n * LOG_2PI
    for a in range(n):
        q.mean[a] = mean[a]
        for b in range(n):
            q.root[a * n + b] = covariance[order[a] * n + order[b]]
            q.log_weight -= .5 * p.fluxes[a] * p.information[a * n + b] * p.fluxes[b]
    cholesky(q.root, n)
    invert_root(q.root, q.whitener, n)
    for a in range(n):
        q.scale[a] = q.scale[n + a] = 1.
        q.log_norm -= log(q.root[a * (n + 1)])


cdef inline int keep(Proposal* proposals, int n_proposals, int n_draws, int n_few, int* total) noexcept nogil:
    """Drop proposals that stand for nothing and share out the draws; the number of proposals left."""
    cdef int k, n_kept = 0
    cdef bint is_major
    cdef double top = -1e300, sum_ = 0.
    for k in range(n_proposals):
        top = fmax(top, proposals[k].log_weight)
    for k in range(n_proposals):
        sum_ += exp(proposals[k].log_weight - top)
    total[0] = 0
    for k in range(n_proposals):
        if proposals[k].log_weight - top > LEAST_LOG_SHARE:
            proposals[n_kept] = proposals[k]
            proposals[n_kept].log_weight -= top
            is_major = exp(proposals[n_kept].log_weight) > MINOR_SHARE * sum_
            proposals[n_kept].n_draws = n_draws if is_major else n_few
            total[0] += proposals[n_kept].n_draws
            n_kept += 1
    for k in range(n_kept):
        proposals[k].log_norm += log(<double>proposals[k].n_draws / total[0])
    return n_kept


cdef inline void draw(
    const Proposal* q, const double* points, const int* order, int n, Py_ssize_t first, vd* x
) noexcept nogil:
    """Fill the planes from the standard points (n_draws, n)."""
    cdef Py_ssize_t i, where
    cdef int a, b
    cdef double[MAX_BANDS] scaled
    cdef double* plane = <double*>x
    cdef double value
    for i in range(q.n_draws):
        where = (first + i) // VD_WIDTH * n * VD_WIDTH + (first + i) % VD_WIDTH
        for a in range(n):
            scaled[a] = points[i * n + a] * q.scale[a + n if points[i * n + a] > 0. else a]
            value = q.mean[order[a]]
            for b in range(a + 1):
                value += q.root[a * n + b] * scaled[b]
            plane[where + order[a] * VD_WIDTH] = fmin(fmax(value, -LIMIT), LIMIT)
