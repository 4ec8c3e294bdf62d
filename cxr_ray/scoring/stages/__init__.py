"""The stages of the pipelines: each turns a table of images into a table with one row per image."""
