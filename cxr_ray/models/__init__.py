"""Networks in plain torch and the bundles that store them; no module of this package imports Ray."""
