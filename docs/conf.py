"""Sphinx configuration: sphinx-astropy's, executed notebooks, and no network unless it is asked for."""

import contextlib
import datetime
import io
import os
from importlib import metadata
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx_astropy.conf.v2 import *  # noqa: F403
from sphinx_astropy.conf.v2 import exclude_patterns, extensions, intersphinx_mapping, rst_epilog

project = "celestepy"
author = "The celestepy developers"
copyright = f"{datetime.date.today().year}, {author}"
release = metadata.version(project)
version = ".".join(release.split(".")[:2])

highlight_language = "python3"
exclude_patterns += ["_templates", "**.ipynb_checkpoints", ".jupyter_cache"]

# Indices of other projects are fetched on request alone: the build neither needs a network nor waits for one.
for unused in ("astropy.org", "h5py", "pythonloc"):
    intersphinx_mapping.pop(unused, None)
if os.environ.get("CELESTEPY_DOCS_LINKS") != "1":
    intersphinx_mapping.clear()

# -- API ---------------------------------------------------------------------------------------------------
# References inside docstrings that lead to other packages are left as text where their index is not at hand.
nitpicky = False
numpydoc_xref_param_type = False
automodsumm_inherited_members = False

# -- Tutorials: MyST notebooks, executed where the data are ------------------------------------------------
extensions += ["myst_nb"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]

data = Path(os.environ.get("CELESTEPY_DATA") or Path(__file__).parents[2] / "shared" / "data").resolve()
os.environ["CELESTEPY_DATA"] = str(data)
nb_execution_mode = "force" if data.is_dir() else "off"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

# -- Output ------------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"{project} {release}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "use_edit_page_button": False,
}
html_static_path = []
rst_epilog += """
.. _sep: https://sep.readthedocs.io
.. _photutils: https://photutils.readthedocs.io
.. _Tractor: https://github.com/dstndstn/tractor
.. _scarlet2: https://github.com/pmelchior/scarlet2
.. _Celeste.jl: https://github.com/jeff-regier/Celeste.jl
.. _SExtractor: https://sextractor.readthedocs.io
"""


# -- Command line ------------------------------------------------------------------------------------------
class CommandHelp(Directive):
    """``.. command-help:: NAME``: what ``celestepy NAME --help`` prints."""

    required_arguments = 1
    final_argument_whitespace = True  # a command of a command has two words

    def run(self):
        """Ask the command itself, so that the page cannot drift from it."""
        from celestepy.cli import build_parser

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            build_parser().parse_args([*self.arguments[0].split(), "--help"])
        return [nodes.literal_block(text=printed.getvalue(), language="none")]


def setup(app):
    """Register what this file defines."""
    os.environ["COLUMNS"] = "100"  # argparse fits its lines to the terminal
    app.add_directive("command-help", CommandHelp)
