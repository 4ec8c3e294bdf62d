"""Bytes to pixels: recognition, decoding, resizing, and drawn phantoms."""
