"""Keras graphs: cutting one in two, folding it, counting its arithmetic."""
