"""Weights and images that two libraries can make alike: from the names of tensors."""

from __future__ import annotations

from zlib import crc32

import numpy as np


def seeded_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a tensor by its name, of a size that keeps signals alive through many layers."""
    rng = np.random.default_rng(crc32(name.encode()))
    draw = rng.standard_normal(shape).astype("float32")
    if name.endswith("running_var"):
        return 1.0 + 0.3 * np.abs(draw)
    if name.endswith(("bias", "running_mean")):
        return 0.1 * draw
    if len(shape) < 2:
        return (0.3 if name.endswith("gamma") else 1.0) + 0.1 * draw
    return draw * np.float32(np.sqrt(2.0 / np.prod(shape[1:])))


def seeded_levels(count: int, height: int, width: int) -> np.ndarray:
    """Images of coloured patches, float32 levels 0..255, (count, height, width, 3)."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (count, -(-height // 16), -(-width // 16), 3))
    images = patches.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    noise = rng.integers(-20, 21, (count, height, width, 3))
    return np.clip(images + noise, 0, 255).astype("float32")


def seeded_tokens(vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and padding mask, int64 (3, 12), the last row shorter than the others."""
    tokens = np.random.default_rng(0).integers(5, vocabulary, (3, 12))
    mask = np.ones_like(tokens)
    mask[2, 7:] = 0
    return tokens * mask, mask
