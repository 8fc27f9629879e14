"""The command line."""

from ctxvision.cli.main import main

__all__ = ["main"]
