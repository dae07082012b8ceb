"""Tokenizers in core TensorFlow operations, one module for each kind of contract."""
