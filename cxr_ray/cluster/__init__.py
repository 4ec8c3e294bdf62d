"""Joining a Ray cluster and measuring what its nodes hold."""
