"""The folder of rows: its owner, its state, its commits."""
