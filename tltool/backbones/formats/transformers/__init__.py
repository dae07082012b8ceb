"""Folders of the transformers library and of sentence-transformers."""
