"""Training of lung segmenters."""
