"""The commands: each parses, calls the library and prints."""

from cmrplan.cli.app import main, run

__all__ = ["main", "run"]
