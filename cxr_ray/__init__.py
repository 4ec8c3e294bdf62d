"""Distributed inference and training for chest X-ray archives, on Ray."""

__version__ = "0.1.0"
