"""Training of classifiers, BiomedCLIP and segmenters through Ray Train."""
