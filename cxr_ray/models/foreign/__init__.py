"""Weights that other libraries and scripts wrote: read without running code, renamed as in timm, and never half loaded."""
