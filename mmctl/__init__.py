"""mmctl: make markets from the command line, and stop safely."""

__version__ = "0.1.0"
