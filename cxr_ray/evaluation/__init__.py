"""Evaluation of predictions and masks against a dataset: figures, tables and HTML reports, without Ray."""
