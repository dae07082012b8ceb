"""Benchmark: how fast exported models answer, what they need, and how they start."""
