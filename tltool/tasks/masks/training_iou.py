"""What is shown while a model of masks trains."""

from __future__ import annotations

from typing import Any

import keras

from tltool.tasks.losses.in_keras import where_counted


class PixelIoU(keras.metrics.MeanIoU):
    """The mean IoU of logits (n, height, width, classes).

    Args:
        classes: How many there are.
        ignored: The class number of pixels without class, as of all those of rows of weight 0.
        name: In histories.
    """

    def __init__(self, classes: int, ignored: int, name: str = "mean_iou") -> None:
        super().__init__(classes, name=name, ignore_class=ignored, sparse_y_pred=False)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """See Keras; weights of rows (n,) only tell which count."""
        if sample_weight is not None:
            y_true = where_counted(y_true, sample_weight, self.ignore_class)
        super().update_state(y_true, y_pred)
