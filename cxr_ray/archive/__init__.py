"""URIs, listings, manifests, datasets with their splits, and result tables."""
