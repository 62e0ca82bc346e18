"""The page that compares a learned prior with what it was learned from."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def figure(fitted, catalog):
    from celestepy.plot import learned_prior

    return learned_prior(fitted, catalog)


def test_panels(figure):
    """Counts and two colours for each type, and three shapes."""
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert len(labels) == 9
    assert labels[:3] == ["r [mag]", "g \N{MINUS SIGN} r [mag]", "r \N{MINUS SIGN} i [mag]"]
    assert labels[-2:] == ["axis ratio", "de Vaucouleurs fraction"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "catalogue", "learned prior", "prior before"]


def test_every_panel_shows_data_and_both_priors(figure):
    """The shaded histogram, and a line and a dashed one of about the same area within the panel."""
    for axes in figure.axes[6:]:
        data, learned, before = (patch.get_data().values for patch in axes.patches)
        for heights in (data, learned, before):
            assert heights.sum() == pytest.approx(1.0, abs=0.1)
        assert np.abs(learned - before).sum() > 0.1


def test_counts_are_scaled_to_the_sources_above_the_limit(figure, fitted):
    """The line's area above the limit is the number of sources there."""
    for axes, kind in ((figure.axes[0], "star"), (figure.axes[3], "galaxy")):
        learned = next(patch for patch in axes.patches if patch.get_label() == "learned prior").get_data()
        above = learned.edges[1:] <= fitted.faint_limit + 1e-9
        assert learned.values[above].sum() == pytest.approx(fitted.expected[kind], rel=0.15)
