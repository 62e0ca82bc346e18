"""What all pictures share: the empty figure, the colours of the two types, and sober axes."""

__all__ = [
    "DARK",
    "GALAXY",
    "GREY",
    "PALE",
    "STAR",
    "box_within",
    "empty_figure",
    "panels",
    "probability_colors",
    "size_in_inches",
    "tidy",
]

STAR, GALAXY = "#2f7fd1", "#e0662b"
GREY, PALE, DARK = "#5a5a5a", "#d9d9d9", "#222222"
_ON_BLACK = ("#ff9640", "#f2f2f2", "#5cc8ff")  # a galaxy, who knows, a star


def empty_figure(width, height):
    """Return an empty figure.

    Parameters
    ----------
    width, height : float
        Size in inches.

    Returns
    -------
    `matplotlib.figure.Figure`

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures need matplotlib: install the extra 'plot', "
                          'python -m pip install ".[plot]" in the source tree') from None
    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def panels(n, width, height, most_columns=4):
    """Return a figure with n panels of a size in inches, and a list of their axes."""
    n_columns = min(most_columns, n)
    n_rows = -(-n // n_columns)
    figure = empty_figure(width * n_columns, height * n_rows)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for spare in axes[n:]:
        spare.remove()
    return figure, list(axes[:n])


def probability_colors():
    """Return the colours of star probability on a dark image."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("star_probability", _ON_BLACK)


def tidy(axes, y_axis=True):
    """Take away the frame of a panel where it carries no scale."""
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(False)
    axes.tick_params(labelsize=8)
    if not y_axis:
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])


def box_within(box, shape):
    """Clip a box to an image.

    Parameters
    ----------
    box : tuple of int or None
        ``(x0, x1, y0, y1)``, half open; None for the whole image.
    shape : tuple of int
        ``(ny, nx)``.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If no pixel is left.
    """
    ny, nx = shape
    x0, x1, y0, y1 = (int(edge) for edge in (box if box is not None else (0, nx, 0, ny)))
    x0, x1, y0, y1 = max(x0, 0), min(x1, nx), max(y0, 0), min(y1, ny)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(
            f"box {box} holds no pixel of an image of {nx} x {ny}; give x0, x1, y0, y1 within it"
        )
    return x0, x1, y0, y1


def size_in_inches(nx, ny, longest, shortest=2.0):
    """Return width and height of a picture of nx by ny pixels."""
    scale = longest / max(nx, ny)
    return max(nx * scale, shortest), max(ny * scale, shortest)
