"""Plain torch models and their bundles; nothing here knows of Ray."""
