"""Probes: small models on the embeddings of an encoder, judged by whole patients, and the choice of images to label next."""
