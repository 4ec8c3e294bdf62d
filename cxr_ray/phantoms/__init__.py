"""Drawn chest radiographs, small models for them, and the demo."""
