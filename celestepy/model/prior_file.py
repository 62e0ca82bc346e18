"""Prior files: JSON, readable and editable by hand, with the provenance of every number beside it.

The document has the entries ``format`` ("celestepy prior"), ``version`` (1), ``name``, ``bands``,
``reference``, ``star_fraction``, ``provenance`` (free text by subject) and, under ``star`` and ``galaxy``,
one entry for each law. A law of the log flux names its family: ``{"law": "normal", "mean": .., "sd": ..}`` or
``{"law": "logistic_beta", "a": .., "b": .., "location": .., "scale": ..}``. The parameters of each law are
those of the class of the same subject in `celestepy.model.prior_laws` and `celestepy.model.color_mixture`.
"""

import json
import re
from dataclasses import fields
from importlib import resources
from pathlib import Path

import numpy as np

from celestepy.model.color_mixture import ColorMixture
from celestepy.model.parameters import Bands
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw

__all__ = ["SHIPPED", "from_document", "read_document", "to_document", "write_document"]

FORMAT, VERSION = "celestepy prior", 1
SHIPPED = {"sdss-deep": "sdss_deep.json", "celeste2019": "celeste2019.json"}
_FLUX_LAWS = {"normal": Normal, "logistic_beta": LogisticBeta}
_LAWS = dict(colors=ColorMixture, log_radius=RadiusLaw, axis_ratio=AxisRatioLaw, dev_fraction=LogisticBeta)

# An innermost JSON list of numbers or short strings, which is written on one line.
_ENTRY = r'(?:-?\d[^\[\]\s,]*|"[^"\[\]]{1,12}")'
_ROW = re.compile(rf"\[\s*({_ENTRY}(?:,\s+{_ENTRY})*)\s*\]")


def read_document(source):
    """The JSON document of a shipped prior, by name, or of a file, and where it was read from.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a JSON document of this format.
    """
    if str(source) in SHIPPED:
        path = resources.files("celestepy.model").joinpath("data", SHIPPED[str(source)])
    else:
        path = Path(source)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no prior file {str(source)!r}; give the path of one, or the name "
                                f"of a shipped prior: {', '.join(SHIPPED)}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    found = (document.get("format"), document.get("version")) if isinstance(document, dict) else None
    if found != (FORMAT, VERSION):
        raise ValueError(f"{path} is not a prior file: expected the entries format {FORMAT!r} and version "
                         f"{VERSION}, got {found}")
    return document, path


def write_document(document, path):
    """Write a document as JSON with one line for each row of numbers."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    text = _ROW.sub(lambda row: "[" + re.sub(r"\s+", " ", row[1]) + "]", text)
    Path(path).write_text(text + "\n", encoding="utf-8")


def to_document(prior):
    """The JSON document of a `celestepy.model.priors.Prior`."""
    head = dict(format=FORMAT, version=VERSION, name=prior.name, bands=list(prior.bands.names),
                reference=prior.bands.reference, star_fraction=prior.star_fraction)
    laws = {kind: _laws_to_dict(getattr(prior, kind)) for kind in ("star", "galaxy")}
    return head | dict(provenance=dict(prior.provenance)) | laws


def from_document(document, prior_class, star_class, galaxy_class):
    """The prior that a document describes, made with the given classes.

    Raises
    ------
    KeyError, TypeError, ValueError
        If an entry is missing, superfluous or invalid.
    """
    bands = Bands(document["bands"], document["reference"])
    return prior_class(bands=bands, star_fraction=float(document["star_fraction"]),
                       star=_laws_from_dict(star_class, document["star"]),
                       galaxy=_laws_from_dict(galaxy_class, document["galaxy"]),
                       name=document["name"], provenance=dict(document["provenance"]))


def _laws_to_dict(laws):
    return {entry.name: _law_to_dict(getattr(laws, entry.name), entry.name) for entry in fields(laws)}


def _law_to_dict(law, subject):
    values = {entry.name: getattr(law, entry.name) for entry in fields(law)}
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value
             for name, value in values.items()}
    if subject != "log_flux":
        return plain
    family = next(name for name, family in _FLUX_LAWS.items() if isinstance(law, family))
    return {"law": family} | plain


def _laws_from_dict(laws_class, values):
    return laws_class(**{entry.name: _law_from_dict(values[entry.name], entry.name)
                         for entry in fields(laws_class)})


def _law_from_dict(values, subject):
    values = dict(values)
    if subject != "log_flux":
        return _LAWS[subject](**values)
    name = values.pop("law")
    if name not in _FLUX_LAWS:
        raise ValueError(f"the law of log_flux must be one of {', '.join(_FLUX_LAWS)}, got {name!r}")
    return _FLUX_LAWS[name](**values)
