"""Two real corpora need no download: English prose and Python source.

Both come from the Python installation that runs this code:

``english``
    The reference documentation in ``pydoc_data.topics`` (one document a topic) and the docstrings
    of the standard library (one document a module, each docstring once).
``python``
    The source of the standard library's modules with every docstring removed, so that the two
    corpora do not overlap.

The text therefore depends on the Python version; its fingerprint is recorded with every run.
"""

from __future__ import annotations

import ast
import inspect
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

EXCLUDED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "idlelib", "lib2to3", "pydoc_data", "encodings", "turtledemo"}
    | {"site-packages", "dist-packages", "lib-dynload", "__pycache__", "_bundled", "__phello__"}
)
"""Tests, data tables, bundled tools and everything that is not the standard library."""

EXCLUDED_MODULES = frozenset({"sitecustomize.py", "usercustomize.py", "_sysconfigdata"})
"""Files an installation adds; a name without suffix excludes every module it begins."""

PHRASE_LENGTH = 40
"""Texts up to this many characters may occur in prose and source alike ("Return the name.")."""

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def standard_library_modules() -> Iterator[Path]:
    """Yield the standard library's source files in a fixed order (by path)."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).parts):
        folders = path.relative_to(root).parts[:-1]
        excluded = EXCLUDED_FOLDERS.intersection(folders) or any(
            folder.startswith("config-") for folder in folders
        )
        if not excluded and not path.name.startswith(tuple(EXCLUDED_MODULES)):
            yield path


def docstring_statements(tree: ast.Module) -> Iterator[tuple[Any, Any]]:
    """Yield (node, statement) for every docstring of a module.

    Plain strings that directly follow a docstring count as docstrings too: they would become
    the docstring once it is gone.
    """
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, _DOCUMENTED):
            for statement in node.body:
                if not _is_string(statement):
                    break
                yield node, statement
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            stack.extend(getattr(node, field, ()))


def split_module(source: str) -> tuple[list[str], str]:
    r"""Return a module's docstrings and its source without them; comments and layout stay.

    A docstring alone on its lines disappears with them; one that shares a line, or is all there is
    in a body, becomes ``pass``, so the result is still Python.

    Examples
    --------
    >>> prose, code = split_module('def f(x):\n    "Double x."\n    return 2 * x  # twice\n')
    >>> prose
    ['Double x.']
    >>> print(code)
    def f(x):
        return 2 * x  # twice
    <BLANKLINE>
    """
    statements = sorted(
        docstring_statements(ast.parse(source)),
        key=lambda pair: (pair[1].lineno, pair[1].col_offset),
    )
    texts = [inspect.cleandoc(statement.value.value).strip() for _, statement in statements]
    lines = source.encode().splitlines(keepends=True)
    # Statements are cut from the last to the first, so that earlier positions stay valid.
    for node, statement in reversed(statements):
        start, end = statement.lineno - 1, statement.end_lineno - 1
        before, after = lines[start][: statement.col_offset], lines[end][statement.end_col_offset :]
        needed = not isinstance(node, ast.Module) and all(map(_is_string, node.body))
        if needed or before.strip() or after.strip():
            lines[start : end + 1] = [before + b"pass" + after]
        else:
            lines[start : end + 1] = []
    return [text for text in texts if text], b"".join(lines).decode()


@cache
def standard_library() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return (docstrings, source without docstrings) of every module, in a fixed order.

    A docstring whose text also stands in the remaining source (an assignment to ``__doc__``) is
    left out, so that no prose is in both.
    """
    modules = []
    for path in standard_library_modules():
        with tokenize.open(path) as stream:  # honours the file's coding line
            prose, code = split_module(stream.read())
        flat_code = " ".join(code.split())
        modules.append((tuple(text for text in prose if not _stands_in(text, flat_code)), code))
    return tuple(modules)


def english_documents() -> list[str]:
    """Return the reference topics and the standard library's docstrings as documents."""
    from pydoc_data.topics import topics

    documents = [topics[name] for name in sorted(topics)]
    seen: set[str] = set()
    for prose, _ in standard_library():
        fresh = []
        for text in prose:
            key = " ".join(text.split())
            if key not in seen:
                seen.add(key)
                fresh.append(text)
        if fresh:
            documents.append("\n\n".join(fresh) + "\n")
    return documents


def python_documents() -> list[str]:
    """Return the standard library's modules without their docstrings as documents."""
    return [code for _, code in standard_library() if code.strip()]


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _stands_in(text: str, flat_code: str) -> bool:
    """Tell whether a text of more than a short phrase occurs in whitespace-normalized code."""
    flat = " ".join(text.split())
    return len(flat) > PHRASE_LENGTH and flat in flat_code


EMBEDDED: dict[str, Callable[[], list[str]]] = {
    "english": english_documents,
    "python": python_documents,
}
"""The embedded corpora by the name that follows ``embedded:`` in a spec."""
