"""How Sphinx builds the site: from the pages of docs/ as they are, the docstrings and the command line.

``make site`` runs it on the whole repository, so that a link from a page to a file leads where it does elsewhere, and
ends with an error where a link, a heading or a name does not exist.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import cmrplan  # noqa: E402

project = "cmrplan"
release = cmrplan.__version__
root_doc = "docs/site/index"
include_patterns = [
    "docs/**.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "data/README.md",
    "data/sweep2/README.md",
    "benchmarks/README.md",
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
myst_heading_anchors = 6
html_theme = "furo"
html_title = f"cmrplan {release}"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
suppress_warnings = [
    "misc.highlighting_failure",  # terminal sessions are no language
    "ref.python",  # a word of a docstring that two classes have
    "myst.header",  # a page may begin with a second-level heading after a picture
]
PUBLIC = "PUBLIC_NAMES"


def public_names() -> str:
    """Return a directive of autodoc for every public name of the library."""
    lines = []
    for name in sorted(cmrplan.__all__, key=str.lower):
        value: Any = getattr(cmrplan, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        kind = "autoclass" if inspect.isclass(value) else "autofunction"
        lines += [f".. {kind}:: {value.__module__}.{value.__qualname__}"]
        lines += ["   :members:", ""] if kind == "autoclass" else [""]
    return "\n".join(lines)


def write_names(app: Any, document: str, source: list[str]) -> None:
    """Put the directives where the page of the library has the word for them."""
    if document == "docs/site/library":
        source[0] = source[0].replace(PUBLIC, public_names())


def setup(app: Any) -> None:
    """Connect what is above to Sphinx."""
    app.connect("source-read", write_names)
