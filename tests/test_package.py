"""What the package says of itself: version, metadata, and the files at the top of the repository."""

import importlib
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import celestepy

ROOT = Path(__file__).parents[1]
COMMANDS = (
    'python -m pip install ".[plot]" && celestepy demo',
    'python -m pip install ".[test]" && pytest',
)
INSTRUCTIONS = ("README.rst", "CONTRIBUTING.rst", "docs/install.rst", "docs/quickstart.rst")


@pytest.fixture(scope="module")
def distribution():
    """The metadata of the imported package; a source tree built in place has none of its own."""
    try:
        found = metadata.distribution("celestepy")
    except metadata.PackageNotFoundError:
        pytest.skip("celestepy is not installed, only built in place")
    if Path(found.locate_file("celestepy")) != Path(celestepy.__file__).parent:
        pytest.skip("the imported celestepy is not the installed one")
    if not any(path.match("*.dist-info/METADATA") for path in found.files or ()):
        pytest.skip("celestepy is built in place: its metadata are those of the last build")
    return found


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_version_is_valid():
    assert Version(celestepy.__version__) >= Version("0.1.dev0")


def test_version_is_that_of_the_installed_package(distribution):
    assert celestepy.__version__ == distribution.version


def test_metadata(distribution):
    about = distribution.metadata
    assert about["Name"] == "celestepy"
    assert about["License-Expression"] == "BSD-3-Clause"
    assert about["Requires-Python"] == ">=3.11"
    assert {"docs", "hdf5", "parquet", "photutils", "plot", "test"} <= set(about.get_all("Provides-Extra"))


def test_command_is_installed(distribution):
    (command,) = distribution.entry_points.select(group="console_scripts", name="celestepy")
    assert callable(command.load())


def test_kernels_are_compiled(distribution):
    """Each Cython module of the source tree is installed, variants for some processors aside."""
    kernels = {path.relative_to(ROOT).with_suffix("") for path in (ROOT / "celestepy").rglob("*.pyx")}
    installed = {Path(file).parent / Path(file).name.partition(".")[0] for file in distribution.files}
    assert {path for path in kernels - installed if not path.name.endswith(("_avx2", "_avx512"))} == set()


def test_public_names_exist():
    assert not [name for name in celestepy.__all__ if not hasattr(celestepy, name)]


@pytest.mark.parametrize("room", ["images", "detection", "model", "inference", "catalog"])
def test_rooms_export_what_they_list(room):
    module = importlib.import_module(f"celestepy.{room}")
    assert module.__doc__
    assert module.__all__
    assert not [name for name in module.__all__ if not hasattr(module, name)]


def test_readme_has_the_two_commands():
    readme = (ROOT / "README.rst").read_text("utf-8")
    assert not [command for command in COMMANDS if command not in readme]


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_no_text_installs_the_name_from_an_index(name):
    """Until a release exists the name on an index may be somebody else's package."""
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"\b(pip|uv|pipx|conda) [^\n]*(install|add)[^\n&]* [\"']?celestepy\b", text)


def test_no_message_installs_the_name_from_an_index():
    """Nor does a message: it names the extra, and the source tree that it belongs to."""
    sources = sorted((ROOT / "celestepy").rglob("*.py"))
    named = re.compile(r"pip install [\"'\\]*celestepy")
    assert not [str(path.relative_to(ROOT)) for path in sources if named.search(path.read_text("utf-8"))]


def test_citation(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"].startswith(project["name"])
    assert citation["license"] == project["license"]
    assert "10.1214/19-AOAS1258" in [reference.get("doi") for reference in citation["references"]]


def test_licence_is_the_declared_one(project):
    text = (ROOT / "LICENSE.rst").read_text("utf-8")
    assert project["license"] == "BSD-3-Clause"
    assert "Neither the name of" in text
    assert "Redistributions in binary form" in text


def test_changes_begin_with_the_version_at_work():
    """The first section of the change log is the series that the version belongs to."""
    first = re.search(r"^(\d+\.\d+(?:\.\d+)?) \(", (ROOT / "CHANGES.rst").read_text("utf-8"), re.MULTILINE)
    assert Version(first[1]).release[:2] >= Version(celestepy.__version__).release[:2]
