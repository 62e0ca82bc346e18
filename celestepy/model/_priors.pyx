# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Log prior density of one source with its gradient and Hessian (see priors.py for the laws)."""

from libc.math cimport exp, expm1, fabs, fmax, log, log1p, sqrt, tanh

cdef enum:
    MAX_COMPONENTS = 64
    MAX_BANDS = 16

LIMITS = (MAX_COMPONENTS, MAX_BANDS)  # sizes of the work space; priors.py checks them

cdef double LOG_2PI = 1.8378770664093454836

cdef struct Slope:  # a value with its first and second derivative in one coordinate
    double value
    double first
    double second


cdef struct NormalLaw:
    double mean
    double sd


cdef struct LogisticBetaLaw:
    double a
    double b
    double location
    double scale
    double log_normalisation


cdef Slope _normal(NormalLaw law, double x) noexcept nogil:
    cdef Slope result
    cdef double z = (x - law.mean) / law.sd
    result.value = -0.5 * (z * z + LOG_2PI) - log(law.sd)
    result.first = -z / law.sd
    result.second = -1.0 / (law.sd * law.sd)
    return result


cdef Slope _logistic_beta(LogisticBetaLaw law, double x) noexcept nogil:
    """ln p = a t - (a + b) softplus(t) + constant at t = (x - location) / scale."""
    cdef Slope result
    cdef double t = (x - law.location) / law.scale
    cdef double fraction = 0.5 * (1 + tanh(0.5 * t)), both = law.a + law.b
    result.value = law.log_normalisation + law.a * t - both * (fmax(t, 0.0) + log1p(exp(-fabs(t))))
    result.first = (law.a - both * fraction) / law.scale
    result.second = -both * fraction * (1 - fraction) / (law.scale * law.scale)
    return result


cdef class PriorKernel:
    """The laws of one type of source as plain numbers.

    Parameters are those of the laws in prior_laws.py; `centres` (J, B), `precisions` (J, B, B) and
    `constants` (J,) are the colour mixture over (log_flux - pivot, colours). A galaxy passes the laws of its
    shape, a star None.
    """

    cdef readonly int n_bands
    cdef bint has_normal_flux, is_galaxy
    cdef NormalLaw normal_flux
    cdef LogisticBetaLaw beta_flux, dev_fraction
    cdef double pivot
    cdef const double[:, ::1] centres
    cdef const double[:, :, ::1] precisions
    cdef const double[::1] constants
    cdef double radius_mean, radius_sd, radius_slope, radius_pivot
    cdef double ratio_a, ratio_b, softening, ratio_log_normalisation
    cdef tuple arguments

    def __init__(self, flux, double pivot, const double[:, ::1] centres, const double[:, :, ::1] precisions,
                 const double[::1] constants, radius, ratio, dev):
        self.arguments = (flux, pivot, centres.base, precisions.base, constants.base, radius, ratio, dev)
        self.n_bands = centres.shape[1]
        self.has_normal_flux = len(flux) == 2
        if self.has_normal_flux:
            self.normal_flux.mean, self.normal_flux.sd = flux
        else:
            self.beta_flux = _beta_law(flux)
        self.pivot, self.centres, self.precisions, self.constants = pivot, centres, precisions, constants
        self.is_galaxy = radius is not None
        if self.is_galaxy:
            self.radius_mean, self.radius_sd, self.radius_slope, self.radius_pivot = radius
            self.ratio_a, self.ratio_b, self.softening, self.ratio_log_normalisation = ratio
            self.dev_fraction = _beta_law(dev)

    def __reduce__(self):
        return PriorKernel, self.arguments

    def evaluate(self, const double[:] theta, double position_sd, int component, double[::1] gradient,
                 double[:, ::1] hessian):
        """Fill the zeroed gradient (n,) and hessian (n, n), return the value; component -1 is all of them."""
        cdef double value = self._position(theta, position_sd, gradient, hessian)
        value += self._flux(theta[2], gradient, hessian)
        value += self._colors(theta, component, gradient, hessian)
        if self.is_galaxy:
            value += self._shape(theta, gradient, hessian)
        return value

    def values(self, const double[:, ::1] theta, double position_sd, int component, double[::1] gradient,
               double[:, ::1] hessian, double[::1] out):
        """Fill `out` (m,) with the values at the rows of theta (m, n); gradient and hessian are scratch, zeroed."""
        cdef Py_ssize_t row
        cdef double value
        with nogil:
            for row in range(theta.shape[0]):
                value = self._position(theta[row], position_sd, gradient, hessian)
                value += self._flux(theta[row, 2], gradient, hessian)
                value += self._colors(theta[row], component, gradient, hessian)
                if self.is_galaxy:
                    value += self._shape(theta[row], gradient, hessian)
                out[row] = value

    cdef double _position(self, const double[:] theta, double sd, double[::1] gradient,
                          double[:, ::1] hessian) noexcept nogil:
        cdef double precision = 1.0 / (sd * sd), value = log(precision) - LOG_2PI
        cdef int k
        for k in range(2):
            gradient[k] = -precision * theta[k]
            hessian[k, k] = -precision
            value -= 0.5 * precision * theta[k] * theta[k]
        return value

    cdef double _flux(self, double log_flux, double[::1] gradient, double[:, ::1] hessian) noexcept nogil:
        cdef Slope law = _normal(self.normal_flux, log_flux) if self.has_normal_flux else _logistic_beta(
            self.beta_flux, log_flux)
        gradient[2] = law.first
        hessian[2, 2] = law.second
        return law.value

    cdef double _colors(self, const double[:] theta, int component, double[::1] gradient,
                        double[:, ::1] hessian) noexcept nogil:
        """Of ln sum_j exp(l_j): gradient -E[p], Hessian E[p p'] - E[p] E[p]' - E[P], p = P (z - centre)."""
        cdef double[MAX_COMPONENTS] logs
        cdef double[MAX_COMPONENTS][MAX_BANDS] pulls
        cdef double[MAX_BANDS] offset, mean_pull
        cdef double top = -1e300, total = 0.0, share, distance
        cdef int first = 0 if component < 0 else component
        cdef int last = self.centres.shape[0] if component < 0 else component + 1
        cdef int n = self.n_bands, j, a, b
        for j in range(first, last):
            for a in range(n):
                offset[a] = theta[2 + a] - self.centres[j, a]
            offset[0] -= self.pivot
            distance = 0.0
            for a in range(n):
                pulls[j][a] = 0.0
                for b in range(n):
                    pulls[j][a] += self.precisions[j, a, b] * offset[b]
                distance += pulls[j][a] * offset[a]
            logs[j] = self.constants[j] - 0.5 * distance
            top = fmax(top, logs[j])
        for j in range(first, last):
            logs[j] = exp(logs[j] - top)
            total += logs[j]
        for a in range(n):
            mean_pull[a] = 0.0
        for j in range(first, last):
            share = logs[j] / total
            for a in range(n):
                mean_pull[a] += share * pulls[j][a]
                for b in range(n):
                    hessian[2 + a, 2 + b] += share * (pulls[j][a] * pulls[j][b] - self.precisions[j, a, b])
        for a in range(n):
            gradient[2 + a] -= mean_pull[a]
            for b in range(n):
                hessian[2 + a, 2 + b] -= mean_pull[a] * mean_pull[b]
        return top + log(total)

    cdef double _shape(self, const double[:] theta, double[::1] gradient,
                       double[:, ::1] hessian) noexcept nogil:
        cdef int at = self.n_bands + 2
        cdef Slope dev = _logistic_beta(self.dev_fraction, theta[at + 3])
        gradient[at + 3] = dev.first
        hessian[at + 3, at + 3] = dev.second
        cdef double value = dev.value + self._radius(theta, at, gradient, hessian)
        return value + self._ratio(theta, at + 1, gradient, hessian)

    cdef double _radius(self, const double[:] theta, int at, double[::1] gradient,
                        double[:, ::1] hessian) noexcept nogil:
        """Normal about a line in the log flux, which shares in its derivatives."""
        cdef NormalLaw law
        law.mean = self.radius_mean + self.radius_slope * (theta[2] - self.radius_pivot)
        law.sd = self.radius_sd
        cdef Slope radius = _normal(law, theta[at])
        gradient[at] = radius.first
        gradient[2] -= self.radius_slope * radius.first
        hessian[at, at] = radius.second
        hessian[at, 2] = hessian[2, at] = -self.radius_slope * radius.second
        hessian[2, 2] += self.radius_slope * self.radius_slope * radius.second
        return radius.value

    cdef double _ratio(self, const double[:] theta, int at, double[::1] gradient,
                       double[:, ::1] hessian) noexcept nogil:
        """ln p = -a h + (b - 1) ln(1 - e^-h) - ln h + constant at h = hypot(eta1, eta2, softening)."""
        cdef double eta1 = theta[at], eta2 = theta[at + 1]
        cdef double h = sqrt(eta1 * eta1 + eta2 * eta2 + self.softening * self.softening)
        cdef double q = exp(-h), rest = -expm1(-h), odds = q / rest
        cdef double radial = (-self.ratio_a + (self.ratio_b - 1) * odds - 1 / h) / h
        cdef double second = -(self.ratio_b - 1) * odds / rest + 1 / (h * h)
        cdef double twist = (second - radial) / (h * h)
        gradient[at] = radial * eta1
        gradient[at + 1] = radial * eta2
        hessian[at, at] = radial + twist * eta1 * eta1
        hessian[at, at + 1] = hessian[at + 1, at] = twist * eta1 * eta2
        hessian[at + 1, at + 1] = radial + twist * eta2 * eta2
        return self.ratio_log_normalisation - self.ratio_a * h + (self.ratio_b - 1) * log(rest) - log(h)


cdef LogisticBetaLaw _beta_law(values):
    cdef LogisticBetaLaw law
    law.a, law.b, law.location, law.scale, law.log_normalisation = values
    return law
