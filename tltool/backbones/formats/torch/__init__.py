"""Torch checkpoints: read without torch, and copied into Keras layers."""
