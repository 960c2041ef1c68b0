"""dojobench: the open evaluation suite for action-conditioned robot world models."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dojobench")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
