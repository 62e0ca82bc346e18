/* Normal components, one in each lane, seen through a row's projection R and noise S.
 *
 * With T = R V R' + S and the residual y = x - R m, the log density of the row is
 *
 *     log N(x | R m, T) = -1/2 [d log(2 pi) + log det T + y' T^-1 y],
 *
 * its derivative by m is R' z with z = T^-1 y, and that by V is 1/2 R' Q R with Q = z z' - T^-1. These two are
 * also all that expectation maximisation needs: the expected value of v given x is m + V R' z, its covariance
 * V - V R' T^-1 R V (Bovy, Hogg & Roweis 2011, eq. 8).
 */
#ifndef CELESTEPY_NORMAL_H
#define CELESTEPY_NORMAL_H

#include "_cholesky.h"

typedef struct {                /* one row of data, what is missing left out */
    int d;                      /* values */
    int n_dims;                 /* of the space without noise */
    int shown;                  /* every dimension of that space is a value, in order */
    int projected;
    int *column;                /* dimension of each value, unless projected */
    int *place;                 /* of each element of the row's triangle in that of a component */
    double *x;
    double *noise;              /* triangle */
    double *projection;         /* (d, n_dims) */
} Row;

typedef struct {                /* VD_WIDTH components */
    const vd *log_weight;
    const vd *mean;             /* (n_dims,) */
    const vd *covariance;       /* triangle */
} Group;

typedef struct {                /* over rows, of the weights and of the derivatives by m and (twice) by V */
    vd *count;
    vd *slope;                  /* (n_dims,) */
    vd *curvature;              /* triangle */
} Sums;

typedef struct {                /* memory where d is no constant */
    vd *t;
    vd *inverse_pivots;
    vd *z;
    vd *q;
    vd *product;
} Work;

/* T and, as its last row, the residual */
VD_INLINE void nm_select(const int d, const int shown, const Row *row, const Group *g, vd *t) {
    CH_UNROLLED for (int a = 0; a < d; a++) {
        CH_UNROLLED for (int b = 0; b <= a; b++) {
            const int e = ROW(a) + b;
            t[e] = g->covariance[shown ? e : row->place[e]] + vd_splat(row->noise[e]);
        }
        t[ROW(d) + a] = vd_splat(row->x[a]) - g->mean[shown ? a : row->column[a]];
    }
}

/* The same through a projection */
static inline void nm_project(const Row *row, const Group *g, vd *t, vd *product) {
    const int n = row->n_dims;
    for (int a = 0; a < row->d; a++) {
        const double *ra = row->projection + a * n;
        vd residual = vd_splat(row->x[a]);
        for (int q = 0; q < n; q++) {
            vd total = vd_splat(0.);
            for (int r = 0; r <= q; r++) total = total + vd_splat(ra[r]) * g->covariance[ROW(q) + r];
            for (int r = q + 1; r < n; r++) total = total + vd_splat(ra[r]) * g->covariance[ROW(r) + q];
            product[q] = total;
            residual = residual - vd_splat(ra[q]) * g->mean[q];
        }
        for (int b = 0; b <= a; b++) {
            const double *rb = row->projection + b * n;
            vd total = vd_splat(row->noise[ROW(a) + b]);
            for (int q = 0; q < n; q++) total = total + vd_splat(rb[q]) * product[q];
            t[ROW(a) + b] = total;
        }
        t[ROW(row->d) + a] = residual;
    }
}

/* log(weight) + log N(x | R m, T) + d / 2 log(2 pi), from T and the residual */
VD_INLINE vd nm_finish(const int d, const Group *g, vd *t, vd *inverse_pivots, vd *c) {
    vd log_determinant;
    const vd quadratic = ch_factor(d, t, inverse_pivots, c, &log_determinant);
    return g->log_weight[0] - vd_splat(.5) * (log_determinant + quadratic);
}

/* From the factors, z and q = w (z z' - T^-1); the factors become L^-1. */
VD_INLINE void nm_derivatives(const int d, vd weight, vd *t, const vd *inverse_pivots, vd *z, vd *q) {
    CH_UNROLLED for (int a = 0; a < d; a++) z[a] = t[ROW(d) + a];
    ch_solve_transposed(d, t, z);
    ch_invert(d, t);
    CH_UNROLLED for (int a = 0; a < d; a++)
        CH_UNROLLED for (int b = 0; b <= a; b++)
            q[ROW(a) + b] = weight * (z[a] * z[b] - ch_inverse_element(d, t, inverse_pivots, a, b));
}

VD_INLINE void nm_add_selected(
    const int d, const int shown, const Row *row, vd weight, const vd *z, const vd *q, Sums *sums
) {
    *sums->count = *sums->count + weight;
    CH_UNROLLED for (int a = 0; a < d; a++) {
        vd *slope = sums->slope + (shown ? a : row->column[a]);
        *slope = *slope + weight * z[a];
        CH_UNROLLED for (int b = 0; b <= a; b++) {
            const int e = ROW(a) + b;
            vd *curvature = sums->curvature + (shown ? e : row->place[e]);
            *curvature = *curvature + q[e];
        }
    }
}

/* Slope R' z and curvature R' q R */
static inline void nm_add_projected(
    const Row *row, vd weight, const vd *z, const vd *q, vd *product, Sums *sums
) {
    const int n = row->n_dims, d = row->d;
    const double *r = row->projection;
    *sums->count = *sums->count + weight;
    for (int j = 0; j < n; j++) {
        vd slope = vd_splat(0.);
        for (int a = 0; a < d; a++) {           /* column j of q R */
            vd total = vd_splat(0.);
            for (int b = 0; b <= a; b++) total = total + vd_splat(r[b * n + j]) * q[ROW(a) + b];
            for (int b = a + 1; b < d; b++) total = total + vd_splat(r[b * n + j]) * q[ROW(b) + a];
            product[a] = total;
            slope = slope + vd_splat(r[a * n + j]) * z[a];
        }
        sums->slope[j] = sums->slope[j] + weight * slope;
        for (int i = j; i < n; i++) {
            vd total = sums->curvature[ROW(i) + j];
            for (int a = 0; a < d; a++) total = total + vd_splat(r[a * n + i]) * product[a];
            sums->curvature[ROW(i) + j] = total;
        }
    }
}

/* The functions below for up to MOST values in memory of their own, which becomes registers. */
#define NM_OF_CONSTANT(D, SHOWN)                                                                            \
    static vd nm_log_density_##D##_##SHOWN(const Row *row, const Group *g) {                                \
        vd t[ROW(D + 1)], inverse_pivots[D], c[D + 1];                                                      \
        nm_select(D, SHOWN, row, g, t);                                                                     \
        return nm_finish(D, g, t, inverse_pivots, c);                                                       \
    }                                                                                                       \
    static void nm_add_##D##_##SHOWN(const Row *row, const Group *g, vd weight, Sums *sums) {               \
        vd t[ROW(D + 1)], inverse_pivots[D], z[D + 1], q[ROW(D)];                                           \
        nm_select(D, SHOWN, row, g, t);                                                                     \
        nm_finish(D, g, t, inverse_pivots, z);                                                              \
        nm_derivatives(D, weight, t, inverse_pivots, z, q);                                                 \
        nm_add_selected(D, SHOWN, row, weight, z, q, sums);                                                 \
    }
#define NM_OF_DIMENSION(D) NM_OF_CONSTANT(D, 0) NM_OF_CONSTANT(D, 1)
NM_OF_DIMENSION(1)
NM_OF_DIMENSION(2)
NM_OF_DIMENSION(3)
NM_OF_DIMENSION(4)
NM_OF_DIMENSION(5)
NM_OF_DIMENSION(6)
NM_OF_DIMENSION(7)
NM_OF_DIMENSION(8)

#define NM_CASE(D, NAME, ...) \
    case D: return row->shown ? NAME##_##D##_1(__VA_ARGS__) : NAME##_##D##_0(__VA_ARGS__);
#define NM_CASES(NAME, ...) \
    switch (row->projected ? 0 : row->d) { \
        NM_CASE(1, NAME, __VA_ARGS__) NM_CASE(2, NAME, __VA_ARGS__) NM_CASE(3, NAME, __VA_ARGS__) \
        NM_CASE(4, NAME, __VA_ARGS__) NM_CASE(5, NAME, __VA_ARGS__) NM_CASE(6, NAME, __VA_ARGS__) \
        NM_CASE(7, NAME, __VA_ARGS__) NM_CASE(8, NAME, __VA_ARGS__) \
        default: break; \
    }

/* log(weight) + log N(x | R m, T) + d / 2 log(2 pi) */
static inline vd nm_log_density(const Row *row, const Group *g, const Work *work) {
    NM_CASES(nm_log_density, row, g)
    if (row->projected)
        nm_project(row, g, work->t, work->product);
    else
        nm_select(row->d, 0, row, g, work->t);
    return nm_finish(row->d, g, work->t, work->inverse_pivots, work->z);
}

/* Add the derivatives of the row's log density under each component, times the weights. */
static inline void nm_add(const Row *row, const Group *g, const Work *work, vd weight, Sums *sums) {
    NM_CASES(nm_add, row, g, weight, sums)
    if (row->projected)
        nm_project(row, g, work->t, work->product);
    else
        nm_select(row->d, 0, row, g, work->t);
    nm_finish(row->d, g, work->t, work->inverse_pivots, work->z);
    nm_derivatives(row->d, weight, work->t, work->inverse_pivots, work->z, work->q);
    if (row->projected)
        nm_add_projected(row, weight, work->z, work->q, work->product, sums);
    else
        nm_add_selected(row->d, 0, row, weight, work->z, work->q, sums);
}

#endif
