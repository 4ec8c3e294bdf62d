"""Metrics, figures and reports from predictions and labels."""
