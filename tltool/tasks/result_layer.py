"""What a kind of target makes of raw outputs, as a layer, where Keras has none for it."""

from __future__ import annotations

from typing import Any

import keras

from tltool.tasks.registry import find_target, name_of


@keras.saving.register_keras_serializable(package="tltool")
class ResultLayer(keras.layers.Layer):
    """From raw outputs to the result of a kind of target, such as one of a user's own.

    Args:
        target: Gives the result; a `Target`, or the JSON values of one.
        name: Of the layer.
        dtype: As for every layer.
    """

    def __init__(self, target: Any, name: str | None = None, dtype: Any = "float32") -> None:
        super().__init__(name=name, dtype=dtype)
        if isinstance(target, dict):
            values = dict(target)
            target = find_target(values.pop("kind")).from_json(values)
        self._target = target

    def call(self, raw: Any) -> Any:
        """Raw outputs (n, num_outputs) to what exported models give."""
        return self._target.result(raw)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        target = {"kind": name_of(type(self._target)), **self._target.to_json()}
        return {"name": self.name, "dtype": "float32", "target": target}
