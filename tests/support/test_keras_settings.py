"""Keras' settings: pinned in a process of tltool's own, refused by name in the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import pytest

from tltool.support.errors import TltoolError
from tltool.support.keras_settings import check_keras

SETTINGS = {
    "floatx": (keras.config.set_floatx, "float16", "float32"),
    "image_data_format": (keras.config.set_image_data_format, "channels_first", "channels_last"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_notebook_left_is_named(name):
    change, other, needed = SETTINGS[name]
    check_keras()
    change(other)
    try:
        with pytest.raises(TltoolError) as caught:
            check_keras()
    finally:
        change(needed)
    assert other in caught.value.message
    assert f"keras.config.set_{name}({needed!r})" in caught.value.hint


def test_a_process_of_our_own_pins_what_files_and_variables_say(tmp_path):
    settings = {"floatx": "float64", "image_data_format": "channels_first", "backend": "jax"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    program = (
        "from tltool.support.quiet import load_tensorflow; load_tensorflow()\n"
        "from tltool.support.keras_settings import check_keras; check_keras()"
    )
    variables = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
