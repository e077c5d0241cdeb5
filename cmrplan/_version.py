"""The version of this distribution, read by the build and by every result."""

__version__ = "0.2.0"
