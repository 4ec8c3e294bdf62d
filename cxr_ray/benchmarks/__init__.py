"""Benchmarks that compare the product's images per second with its limits and with baselines."""
