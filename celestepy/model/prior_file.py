"""Prior files: JSON, readable and editable by hand, with the provenance of every number beside it; or FITS.

The document has the entries ``format`` ("celestepy prior"), ``version`` (1), ``name``, ``bands``,
``reference``, ``star_fraction``, ``provenance`` (free text by subject) and, under ``star`` and ``galaxy``,
one entry for each law. A law of the log flux names its family: ``{"law": "normal", "mean": .., "sd": ..}`` or
``{"law": "logistic_beta", "a": .., "b": .., "location": .., "scale": ..}``. The parameters of each law are
those of the class of the same subject in `celestepy.model.prior_laws` and `celestepy.model.color_mixture`. In FITS
(`celestepy.model.prior_fits`) the same entries stand in tables.
"""

import json
import re
from dataclasses import fields
from importlib import resources
from pathlib import Path

import numpy as np

from celestepy.model.color_mixture import ColorMixture
from celestepy.model.parameters import Bands
from celestepy.model.prior_fits import from_fits, is_fits, to_fits
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, Normal, RadiusLaw
from celestepy.whole_files import write_whole

__all__ = ["EXTENSIONS", "SHIPPED", "from_document", "read_document", "to_document", "write_document"]

FORMAT, VERSION = "celestepy prior", 1
EXTENSIONS = (".json", ".fits")
SHIPPED = {"sdss-deep": "sdss_deep.json", "celeste2019": "celeste2019.json"}
_FLUX_LAWS = {"normal": Normal, "logistic_beta": LogisticBeta}
_LAWS = dict(colors=ColorMixture, log_radius=RadiusLaw, axis_ratio=AxisRatioLaw, dev_fraction=LogisticBeta)

# An innermost JSON list of numbers or short strings, which is written on one line.
_ENTRY = r'(?:-?\d[^\[\]\s,]*|"[^"\[\]]{1,12}")'
_ROW = re.compile(rf"\[\s*({_ENTRY}(?:,\s+{_ENTRY})*)\s*\]")


def read_document(source):
    """The document of a shipped prior, by name, or of a JSON or FITS file, and where it was read from.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold a document of this format.
    """
    if str(source) in SHIPPED:
        path = resources.files("celestepy.model").joinpath("data", SHIPPED[str(source)])
    else:
        path = Path(source)
    try:
        content = path.read_bytes()
        document = from_fits(content) if is_fits(content) else json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no prior file {str(source)!r}; give the path of one, or the name "
                                f"of a shipped prior: {', '.join(SHIPPED)}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    except (ValueError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the file's, not of what is in it
            raise
        raise ValueError(f"{path} is not a prior file: {error}") from error
    found = (document.get("format"), document.get("version")) if isinstance(document, dict) else None
    if found != (FORMAT, VERSION):
        raise ValueError(f"{path} is not a prior file: expected the entries format {FORMAT!r} and version "
                         f"{VERSION}, got {found}")
    return document, path


def write_document(document, path):
    """Write a document as FITS, if the name ends in .fits, or as JSON with one line for each row of numbers.

    It is written under a temporary name beside its destination and renamed: an existing file is replaced by a whole
    one or stays as it was.
    """
    path = Path(path)
    content = to_fits(document) if path.suffix.lower() == ".fits" else _to_json(document)
    try:
        write_whole(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _to_json(document):
    text = json.dumps(document, indent=1, ensure_ascii=False)
    text = _ROW.sub(lambda row: "[" + re.sub(r"\s+", " ", row[1]) + "]", text)
    return (text + "\n").encode("utf-8")


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
