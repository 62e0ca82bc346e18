"""Slow, obvious versions of the proximal operators, and of the sets they project onto."""

import numpy as np
from scipy.optimize import nnls

STEPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def inner_weights(shape):
    """{pixel: {inner neighbour: weight}}, pixels as (y, x)."""
    height, width = shape
    cy, cx = height // 2, width // 2
    result = {}
    for y in range(height):
        for x in range(width):
            own = {}
            radius = np.hypot(y - cy, x - cx)
            for dy, dx in STEPS:
                ny, nx = y + dy, x + dx
                if not (0 <= ny < height and 0 <= nx < width):
                    continue
                if (ny - cy) ** 2 + (nx - cx) ** 2 >= (y - cy) ** 2 + (x - cx) ** 2:
                    continue
                cosine = ((cy - y) * dy + (cx - x) * dx) / (radius * np.hypot(dy, dx))
                if cosine > 0:
                    own[ny, nx] = cosine
            total = sum(own.values())
            result[y, x] = {pixel: cosine / total for pixel, cosine in own.items()}
    return result


def parents(shape):
    """{pixel: its parent}, without the centre."""
    return {pixel: max(own, key=own.get) for pixel, own in inner_weights(shape).items() if own}


def sweep(morphology):
    """The monotonic sweep, pixel by pixel outwards."""
    x = np.array(morphology, dtype=float)
    weights = inner_weights(x.shape)
    cy, cx = x.shape[0] // 2, x.shape[1] // 2
    for pixel in sorted(weights, key=lambda p: (p[0] - cy) ** 2 + (p[1] - cx) ** 2):
        if weights[pixel]:
            x[pixel] = min(x[pixel], sum(w * x[other] for other, w in weights[pixel].items()))
    return x


def monotonic_rows(shape):
    """(n - 1, n) matrix C of the tree's inequalities C x <= 0."""
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    rows = []
    for pixel, parent in parents(shape).items():
        row = np.zeros(index.size)
        row[index[pixel]], row[index[parent]] = 1.0, -1.0
        rows.append(row)
    return np.array(rows)


def symmetric_rows(shape):
    """Rows of the equalities x_i = x_opposite, each as two inequalities."""
    n = shape[0] * shape[1]
    rows = np.eye(n)[: n // 2] - np.eye(n)[::-1][: n // 2]
    return np.concatenate([rows, -rows])


def project_on_cone(morphology, rows):
    """Projection on {C x <= 0} by its dual: x = y - C'm with m >= 0 that minimises |y - C'm|."""
    y = np.asarray(morphology, dtype=float)
    multipliers = nnls(rows.T, y.ravel(), maxiter=30 * y.size)[0]
    return (y.ravel() - rows.T @ multipliers).reshape(y.shape)
