"""cmrplan: choose the data mixture of continual pre-training with evidence."""

from cmrplan._version import __version__

__all__ = ["__version__"]
