"""The schema: names, order, and the page of the documentation that is printed from it."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units

from celestepy.catalog.columns import COLUMNS, POSTERIOR_COLUMNS, reference_page, schema
from celestepy.catalog.flags import FLAG_MEANING, STATUS_MEANING, Flag, Status, describe_flags

REQUIRED = """
id ra dec ra_err dec_err star_probability half_light_radius half_light_radius_err axis_ratio axis_ratio_err
position_angle position_angle_err dev_fraction dev_fraction_err log_evidence_star log_evidence_galaxy
log_evidence_existence snr status flags message n_iterations n_pixels masked_fraction blendedness group_id
""".split()


def test_required_columns_are_there():
    names = [column.name for column in schema("ugriz")]
    per_band = [
        f"{stem}_{band}{end}"
        for stem in ("flux", "mag", "star_flux", "galaxy_flux")
        for band in "ugriz"
        for end in ("", "_err")
    ]
    per_color = [f"color_{color}{end}" for color in ("ug", "gr", "ri", "iz") for end in ("", "_err")]
    assert set(REQUIRED + per_band + per_color) <= set(names)
    assert len(set(names)) == len(names)


def test_each_value_is_followed_by_its_error():
    names = [column.name for column in schema("gr")]
    for name in names:
        if f"{name}_err" in names and name not in ("ra", "dec"):
            assert names[names.index(name) + 1] == f"{name}_err"


def test_one_band_has_no_colors():
    assert not [column.name for column in schema("r") if column.name.startswith("color")]


def test_long_band_names():
    names = [column.name for column in schema(["F606W", "F814W"])]
    assert "mag_F606W_err" in names
    assert "color_F606WF814W" in names


def test_units_and_types_are_real():
    for column in schema("ugriz"):
        units.Unit(column.unit)
        np.dtype(column.dtype)
        assert "{" not in column.name + column.description + column.formula


@pytest.mark.parametrize(("members", "meaning"), [(Flag, FLAG_MEANING), (Status, STATUS_MEANING)])
def test_every_code_has_a_meaning(members, meaning):
    assert list(meaning) == list(members)


def test_flags_are_single_bits_that_fit():
    assert [int(flag) for flag in Flag] == [1 << i for i in range(len(Flag))]
    assert max(Flag) < np.iinfo(np.int32).max


def test_describe_flags():
    assert describe_flags(0) == []
    assert [text.split(":")[0] for text in describe_flags(np.int32(3))] == ["SATURATED", "EDGE"]


def test_documentation_is_printed_from_the_schema():
    page = Path(__file__).parents[2] / "docs" / "reference" / "columns.rst"
    assert page.read_text() == reference_page(), "write the output of reference_page() there"


def test_reference_page_names_every_column():
    page = reference_page()
    assert all(f"``{column.name}``" in page for column in COLUMNS + POSTERIOR_COLUMNS)
