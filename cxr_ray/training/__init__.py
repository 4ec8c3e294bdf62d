"""Ray Train: datasets made ready and classifiers trained on them."""
