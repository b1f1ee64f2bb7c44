"""Benchmarks against peers: `python -m bench`, or `make bench`."""
