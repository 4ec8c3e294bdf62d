"""Pure functions that compute metrics from NumPy arrays."""
