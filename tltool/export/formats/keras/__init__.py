"""Keras (.keras): writing, running and reading it."""
