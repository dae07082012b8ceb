"""Runs: their folders, and a trained model as an object."""
