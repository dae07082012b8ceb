"""The mean of several models' outputs, or of one model's on several views, in one graph.

Models end in raw outputs, so the mean is one of raw outputs too: those of which a user reads the
mean of what the models would say. Everything that takes a model takes one of several as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tltool.tasks.registry import find_target, name_of
from tltool.tasks.target import Target

VIEW_AXES = {"horizontal_flip": 2, "vertical_flip": 1}
"""The axis of pictures (n, height, width, channels) that each view turns round."""


@keras.saving.register_keras_serializable(package="tltool")
class Views(keras.layers.Layer):
    """Pictures as they are and turned round, one after the other along the batch.

    Args:
        views: Keys of `VIEW_AXES`, none of them twice.
        name, dtype: As for every layer.
    """

    def __init__(
        self, views: Sequence[str], name: str | None = None, dtype: Any = "float32"
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._views = tuple(views)

    def call(self, pictures: Any) -> Any:
        """Pictures (n, height, width, channels) to (n * (1 + views), height, width, channels)."""
        turned = [ops.flip(pictures, axis=VIEW_AXES[view]) for view in self._views]
        return ops.concatenate([pictures, *turned], axis=0)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {"name": self.name, "dtype": "float32", "views": list(self._views)}


@keras.saving.register_keras_serializable(package="tltool")
class MeanOutputs(keras.layers.Layer):
    """Raw outputs of which a user reads the mean of what several say; see `Target.averaged`.

    Args:
        kind: Of the target; the class, or its name.
        views: Those that `Views` has put along the batch; outputs with a place for each place of
            the picture are turned back.
        name, dtype: As for every layer.
    """

    def __init__(
        self,
        kind: type[Target] | str,
        views: Sequence[str] = (),
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._kind = find_target(kind) if isinstance(kind, str) else kind
        self._views = tuple(views)

    def call(self, raws: Any) -> Any:
        """Raw outputs of each member, (n * (1 + views), …), to (n, …)."""
        parts = [
            self._turned_back(part, view)
            for raw in raws
            for view, part in self._by_view(ops.cast(raw, "float32"))
        ]
        return self._kind.averaged(parts)

    def _by_view(self, raw: Any) -> list[tuple[str | None, Any]]:
        if not self._views:
            return [(None, raw)]
        views = (None, *self._views)
        return list(zip(views, ops.split(raw, len(views), axis=0), strict=True))

    def _turned_back(self, raw: Any, view: str | None) -> Any:
        # Of pooled features there is one output a picture, which has no sides.
        if view is None or self._kind.reads == "pooled":
            return raw
        return ops.flip(raw, axis=VIEW_AXES[view])

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        kind, views = name_of(self._kind), list(self._views)
        return {"name": self.name, "dtype": "float32", "kind": kind, "views": views}
