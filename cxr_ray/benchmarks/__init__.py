"""Images per second of the product, beside its own limits and other loops."""
