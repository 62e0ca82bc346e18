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

/* How a row shows the space without noise */
#define NM_SOME 0               /* some of its dimensions */
#define NM_ALL 1                /* all of them, in order */
#define NM_PROJECTED 2

typedef struct {                /* one row of data, what is missing left out */
    int d;                      /* values */
    int n_dims;                 /* of the space without noise */
    int shows;
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
    vd *t;                      /* triangle and a row */
    vd *inverse_pivots;
    vd *z;
    vd *q;                      /* triangle */
    vd *product;                /* (max of d and n_dims,) */
} Work;

/* T and, as its last row, the residual */
VD_INLINE void nm_select(const int d, const int shows, const Row *row, const Group *g, vd *t) {
    CH_UNROLLED for (int a = 0; a < d; a++) {
        CH_UNROLLED for (int b = 0; b <= a; b++) {
            const int e = ROW(a) + b;
            t[e] = g->covariance[shows == NM_ALL ? e : row->place[e]] + vd_splat(row->noise[e]);
        }
        t[ROW(d) + a] = vd_splat(row->x[a]) - g->mean[shows == NM_ALL ? a : row->column[a]];
    }
}

/* The same through a projection, of a space of n dimensions; `product` is a row of R V. */
VD_INLINE void nm_project_from(const int n, const Row *row, const Group *g, vd *t, vd *product) {
    for (int a = 0; a < row->d; a++) {
        const double *ra = row->projection + a * n;
        vd residual = vd_splat(row->x[a]);
        CH_UNROLLED for (int q = 0; q < n; q++) {
            vd total = vd_splat(0.);
            CH_UNROLLED for (int r = 0; r < n; r++)
                total = total + vd_splat(ra[r]) * g->covariance[r <= q ? ROW(q) + r : ROW(r) + q];
            product[q] = total;
            residual = residual - vd_splat(ra[q]) * g->mean[q];
        }
        for (int b = 0; b <= a; b++) {
            const double *rb = row->projection + b * n;
            vd total = vd_splat(row->noise[ROW(a) + b]);
            CH_UNROLLED for (int q = 0; q < n; q++) total = total + vd_splat(rb[q]) * product[q];
            t[ROW(a) + b] = total;
        }
        t[ROW(row->d) + a] = residual;
    }
}

#define NM_CASE(N)                                      \
    case N: {                                           \
        vd product[N];                                  \
        nm_project_from(N, row, g, work->t, product);   \
        break;                                          \
    }

static void nm_project(const Row *row, const Group *g, const Work *work) {
    switch (row->n_dims) {
        NM_CASE(1) NM_CASE(2) NM_CASE(3) NM_CASE(4) NM_CASE(5) NM_CASE(6) NM_CASE(7) NM_CASE(8)
        default: nm_project_from(row->n_dims, row, g, work->t, work->product);
    }
}
#undef NM_CASE

VD_INLINE void nm_fill(const int d, const int shows, const Row *row, const Group *g, const Work *work, vd *t) {
    if (shows != NM_PROJECTED) {
        nm_select(d, shows, row, g, t);
        return;
    }
    nm_project(row, g, work);
    if (t != work->t) CH_UNROLLED for (int e = 0; e < ROW(d) + d; e++) t[e] = work->t[e];
}

/* log(weight) + log N(x | R m, T) + d / 2 log(2 pi), from T and the residual */
VD_INLINE vd nm_finish(const int d, const Group *g, vd *t, vd *inverse_pivots, vd *c) {
    vd log_determinant;
    const vd quadratic = ch_factor(d, t, inverse_pivots, c, &log_determinant);
    return g->log_weight[0] - vd_splat(.5) * (log_determinant + quadratic);
}

/* From the factors, z and q = w (z z' - T^-1); the factors become L^-1. Where w is 0 so is z: the square of the
 * distance to a component that is far in its own units may overflow. */
VD_INLINE void nm_derivatives(const int d, vd weight, vd *t, const vd *inverse_pivots, vd *z, vd *q) {
    CH_UNROLLED for (int a = 0; a < d; a++) z[a] = t[ROW(d) + a];
    ch_solve_transposed(d, t, z);
    CH_UNROLLED for (int a = 0; a < d; a++) z[a] = vd_zero_if_less(weight, vd_splat(1e-300), z[a]);
    ch_invert(d, t);
    CH_UNROLLED for (int a = 0; a < d; a++)
        CH_UNROLLED for (int b = 0; b <= a; b++)
            q[ROW(a) + b] = weight * (z[a] * z[b] - ch_inverse_element(d, t, inverse_pivots, a, b));
}

VD_INLINE void nm_add_selected(
    const int d, const int shows, const Row *row, vd weight, const vd *z, const vd *q, Sums *sums
) {
    CH_UNROLLED for (int a = 0; a < d; a++) {
        vd *slope = sums->slope + (shows == NM_ALL ? a : row->column[a]);
        *slope = *slope + weight * z[a];
        CH_UNROLLED for (int b = 0; b <= a; b++) {
            const int e = ROW(a) + b;
            vd *curvature = sums->curvature + (shows == NM_ALL ? e : row->place[e]);
            *curvature = *curvature + q[e];
        }
    }
}

/* Slope R' z and curvature R' q R; `product` is a column of q R. */
VD_INLINE void nm_add_projected(
    const int d, const Row *row, vd weight, const vd *z, const vd *q, vd *product, Sums *sums
) {
    const int n = row->n_dims;
    for (int j = 0; j < n; j++) {
        const double *r = row->projection + j;
        vd slope = vd_splat(0.);
        CH_UNROLLED for (int a = 0; a < d; a++) {
            vd total = vd_splat(0.);
            CH_UNROLLED for (int b = 0; b < d; b++)
                total = total + vd_splat(r[b * n]) * q[b <= a ? ROW(a) + b : ROW(b) + a];
            product[a] = total;
            slope = slope + vd_splat(r[a * n]) * z[a];
        }
        sums->slope[j] = sums->slope[j] + weight * slope;
        for (int i = j; i < n; i++) {
            vd total = sums->curvature[ROW(i) + j];
            r = row->projection + i;
            CH_UNROLLED for (int a = 0; a < d; a++) total = total + vd_splat(r[a * n]) * product[a];
            sums->curvature[ROW(i) + j] = total;
        }
    }
}

/* One row and group, in memory that becomes registers where d is a constant */
VD_INLINE vd nm_density(
    const int d, const int shows, const Row *row, const Group *g, const Work *work, vd *t, vd *inverse_pivots, vd *z
) {
    nm_fill(d, shows, row, g, work, t);
    return nm_finish(d, g, t, inverse_pivots, z);
}

VD_INLINE void nm_add_density(
    const int d, const int shows, const Row *row, const Group *g, const Work *work, vd weight, Sums *sums,
    vd *t, vd *inverse_pivots, vd *z, vd *q, vd *product
) {
    nm_density(d, shows, row, g, work, t, inverse_pivots, z);
    nm_derivatives(d, weight, t, inverse_pivots, z, q);
    *sums->count = *sums->count + weight;
    if (shows == NM_PROJECTED)
        nm_add_projected(d, row, weight, z, q, product, sums);
    else
        nm_add_selected(d, shows, row, weight, z, q, sums);
}

#define NM_OF_CONSTANTS(D, SHOWS)                                                                              \
    static vd nm_log_density_##D##_##SHOWS(const Row *row, const Group *g, const Work *work) {                 \
        vd t[ROW(D + 1)], inverse_pivots[D], z[D + 1];                                                         \
        return nm_density(D, SHOWS, row, g, work, t, inverse_pivots, z);                                       \
    }                                                                                                          \
    static void nm_add_##D##_##SHOWS(const Row *row, const Group *g, const Work *work, vd weight, Sums *sums) { \
        vd t[ROW(D + 1)], inverse_pivots[D], z[D + 1], q[ROW(D)], product[D];                                  \
        nm_add_density(D, SHOWS, row, g, work, weight, sums, t, inverse_pivots, z, q, product);                \
    }

#define NM_ALL_KINDS(DO, D) DO(D, 0) DO(D, 1) DO(D, 2)
#define NM_EVERY(DO)                                                                            \
    NM_ALL_KINDS(DO, 1) NM_ALL_KINDS(DO, 2) NM_ALL_KINDS(DO, 3) NM_ALL_KINDS(DO, 4)             \
    NM_ALL_KINDS(DO, 5) NM_ALL_KINDS(DO, 6) NM_ALL_KINDS(DO, 7) NM_ALL_KINDS(DO, 8)

NM_EVERY(NM_OF_CONSTANTS)

/* log(weight) + log N(x | R m, T) + d / 2 log(2 pi) */
static inline vd nm_log_density(const Row *row, const Group *g, const Work *work) {
#define NM_CASE(D, SHOWS) case 4 * D + SHOWS: return nm_log_density_##D##_##SHOWS(row, g, work);
    switch (4 * row->d + row->shows) {
        NM_EVERY(NM_CASE)
        default: return nm_density(row->d, row->shows, row, g, work, work->t, work->inverse_pivots, work->z);
    }
#undef NM_CASE
}

/* Add the derivatives of the row's log density under each component, times the weights. */
static inline void nm_add(const Row *row, const Group *g, const Work *work, vd weight, Sums *sums) {
#define NM_CASE(D, SHOWS) case 4 * D + SHOWS: nm_add_##D##_##SHOWS(row, g, work, weight, sums); break;
    switch (4 * row->d + row->shows) {
        NM_EVERY(NM_CASE)
        default:
            nm_add_density(
                row->d, row->shows, row, g, work, weight, sums,
                work->t, work->inverse_pivots, work->z, work->q, work->product
            );
    }
#undef NM_CASE
}

#endif
