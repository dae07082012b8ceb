"""Saying that an input is like none the model has learnt from."""
