"""How to use a `.keras` file: a program with tltool, and how Keras loads it."""

from __future__ import annotations

from string import Template

from tltool.export.contract import Contract, Example
from tltool.export.sidecars.programs import raw_program

_NOTE = Template("""\
That program prepares the input as `contract.json` says. The model itself is loaded so, and takes
what is prepared:

```python
import keras
$imports
model = keras.saving.load_model("model.keras", compile=False)
```""")


def keras_usage(contract: Contract, example: Example) -> list[str]:
    """See `Format.usage`."""
    return [
        "Run in this folder, with tltool installed:",
        f"```python\n{raw_program('keras', contract, example)}\n```",
        _NOTE.substitute(imports="".join(f"import {m}\n" for m in contract.modules)),
    ]
