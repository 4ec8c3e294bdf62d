"""Engines: programs that compute the forward pass of one model on one device, each in a file of its own.

`fastest_engine` chooses. An engine takes uint8 pixels and returns float32 probabilities or features, both as NumPy arrays, so a
process whose engine is not torch need not load torch.
"""
