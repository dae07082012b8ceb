"""tf.data by hand: every file of a folder to batches of the network's input, once."""

from __future__ import annotations

import tensorflow as tf
from protocol import Stopwatch, jpeg_files, read_settings, report
from tfdata_images import load, normalized


def main() -> None:
    settings = read_settings()
    paths = jpeg_files(settings["folder"])
    run(paths[:64], settings["batch_size"])
    stopwatch = Stopwatch()
    images = run(paths, settings["batch_size"])
    report(**stopwatch.read(), images=images)


def run(paths: list[str], batch_size: int) -> int:
    """Makes every batch, and counts the images."""
    images = tf.data.Dataset.from_tensor_slices(paths)
    images = images.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    images = images.batch(batch_size).map(normalized, num_parallel_calls=tf.data.AUTOTUNE)
    return sum(len(batch) for batch in images.prefetch(tf.data.AUTOTUNE))


if __name__ == "__main__":
    main()
