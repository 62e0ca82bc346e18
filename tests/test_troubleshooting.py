"""The page "from message to fix" quotes messages that the package can print."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.rst").read_text("utf-8")


def quoted_messages():
    """Headings that are one literal, after the section on installing, whose messages are other programs'."""
    ours = PAGE[PAGE.index("\nImages\n---") :]
    return re.findall(r"^``([^`]+)``$", ours, re.MULTILINE)


@pytest.fixture(scope="module")
def texts():
    """All strings in the package; what is computed inside an f-string reads {}."""
    found = []
    for path in sorted((ROOT / "celestepy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.ClassDef):
                found.append(node.name)
    return found


def is_quoted_from(message, text):
    """Whether a text has the message, whose {placeholders} stand for anything."""
    pieces = [re.escape(piece) for piece in re.split(r"\{\w*\}", message)]
    return re.search(".*?".join(pieces), text, re.DOTALL) is not None


def test_the_page_has_messages():
    assert len(quoted_messages()) > 10


@pytest.mark.parametrize("message", quoted_messages())
def test_the_message_exists(message, texts):
    assert any(is_quoted_from(message, text) for text in texts)


def test_a_message_that_does_not_exist_is_noticed(texts):
    assert not any(is_quoted_from("the {thing} is out of cheese", text) for text in texts)
