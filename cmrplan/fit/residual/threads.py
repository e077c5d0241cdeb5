"""One thread for linear algebra: matrices of some hundred rows are slower on two, and sums would differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra take one thread."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
