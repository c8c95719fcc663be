"""Tensors in, tensors out; a model holds no session."""
