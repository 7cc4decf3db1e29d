"""The pictures to drag of the book, and what they must say: for all tests that use a browser."""

import importlib.util
import re
from pathlib import Path

import nbformat

TESTS = Path(__file__).parent
BOOK = TESTS.parent / "book"


def pictures_in(page):
    """The HTML of the pictures of a page, in its order."""
    return re.findall(r'<figure class="drag">.*?</figure>', page, flags=re.DOTALL)


def pictures_of(path):
    """Those of a notebook, as it was executed."""
    return [
        picture
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        for picture in pictures_in(output.get("data", {}).get("text/html", ""))
    ]


# By the name of the notebook and a number from 1.
PICTURES = {
    ("front", 1): (BOOK / "_static" / "front.html").read_text().strip(),
    **{
        (path.stem, number): page
        for path in sorted(BOOK.glob("*.ipynb"))
        for number, page in enumerate(pictures_of(path), 1)
    },
}


def said_by_package(name, number):
    """What a picture must say: a function of its stops, from tests/drag/<name>.py."""
    path = TESTS / "drag" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"drag_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.said if number == 1 else getattr(module, f"said_{number}")
