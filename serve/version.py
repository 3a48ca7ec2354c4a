"""The version of this project."""

from importlib import metadata

VERSION = metadata.version("zeropoint")
"""As installed."""
