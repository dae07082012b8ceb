"""Labelled data: read, checked, split, and turned into tensors."""
