"""Converters of one traced function, for as many precisions as are wanted.

Before TensorFlow's converter converts anything it writes the function with its weights into a
temporary folder and loads it again: of EfficientNet-Lite0 that takes three times as long as the
conversion. Here it is done once, whatever the precisions.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from typing import Any

import tensorflow as tf

from tltool.support.processes import mark


class Conversions:
    """Converters of one function.

    Args:
        function: Concrete, of one signature.
        module: Owns its weights.
    """

    def __init__(self, function: Any, module: tf.Module) -> None:
        self._function, self._module = function, module
        self._folder: str | None = None
        self._found: tuple[Any, dict[str, Any]] | None = None

    def converter(self) -> Any:
        """A converter with nothing set, which can be used once."""
        made = _Converter.from_concrete_functions([self._function], self._module)
        made.shared = self
        return made

    def written(self, converter: Any) -> Any:
        """What TensorFlow finds of the function it has written, which is written the first time.

        Args:
            converter: Is left as if it had written the function itself.
        """
        if self._found is None:
            before, folder = dict(vars(converter)), self._own_folder()
            found = converter.write(folder)
            if converter.saved_model_dir is None:  # TensorFlow converts in another way then
                return found
            after = vars(converter).items()
            set_here = {name: value for name, value in after if before.get(name) is not value}
            self._found = found, set_here
        found, set_here = self._found
        vars(converter).update(set_here)
        return found

    def _own_folder(self) -> str:
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix=f"tltool-litert.{mark()}.")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder


class _Converter(tf.lite.TFLiteConverter):
    """TensorFlow's converter of functions, which asks `shared` for what is written.

    A TensorFlow without the method below writes the function for each conversion.
    """

    shared: Conversions

    def write(self, folder: str) -> Any:
        """Writes the function into a folder, and loads what the conversion needs of it."""
        return super()._convert_concrete_functions_to_saved_model(folder)

    def _convert_concrete_functions_to_saved_model(self, output_dir: str) -> Any:
        return self.shared.written(self)
