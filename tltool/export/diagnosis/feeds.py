"""What an app feeds of the golden examples, rightly or with known faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tltool.data.preprocessing import ImagePreprocessing
from tltool.export.contract import Contract
from tltool.export.diagnosis.answers import Golden
from tltool.export.diagnosis.faults import Fault
from tltool.export.diagnosis.image_faults import image_faults
from tltool.export.diagnosis.images import ImagePreparation, image_tensor
from tltool.export.diagnosis.text_faults import text_faults
from tltool.export.diagnosis.texts import TextPreparation, text_tensors
from tltool.export.feeding import Arrays
from tltool.export.outputs import Call

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Feeds:
    """The golden examples of an export as an app prepares them.

    Attributes:
        contract: Of the export.
        golden: Its golden examples.
        call: Runs the model on the tensors of one example.
        widths: Tokens of each example where the model leaves them open and the app says them.
        known: Outputs that were computed before, by what was changed.
    """

    contract: Contract
    golden: Golden
    call: Call
    widths: Sequence[int] | None = None
    known: dict[str, Array] = field(default_factory=dict, repr=False)

    def faults(self) -> list[Fault]:
        """The known ones of this model's kind of input."""
        preprocessing = self.contract.preprocessing
        if isinstance(preprocessing, ImagePreprocessing):
            return list(image_faults(preprocessing, self.contract.takes))
        return list(text_faults(preprocessing, self.contract.length))

    def tensors(self, changes: Mapping[str, Any]) -> list[Arrays]:
        """What is fed of each example with changes of the right preparation."""
        preprocessing = self.contract.preprocessing
        if isinstance(preprocessing, ImagePreprocessing):
            how = replace(ImagePreparation(), **changes)
            takes = self.contract.takes
            return [image_tensor(one, how, preprocessing, takes) for one in self.golden.inputs]
        text_how = replace(TextPreparation(), **changes)
        lengths: Sequence[int | None] = self.widths or [self.contract.length] * len(
            self.golden.inputs
        )
        return [
            text_tensors(one, text_how, preprocessing, length)
            for one, length in zip(self.golden.inputs, lengths, strict=True)
        ]

    def outputs(self, tensors: Sequence[Arrays]) -> Array:
        """What a user reads of the model's answers, float64 (n, outputs)."""
        results = np.stack([self.call(one) for one in tensors])
        outputs = self.contract.task.target.from_result(results)
        return np.asarray(outputs, np.float64).reshape(len(tensors), -1)

    def planted(self, changes: Mapping[str, Any]) -> Array:
        """The outputs of what is fed with changes of the right preparation, computed once."""
        key = repr((sorted(changes.items()), self.widths))
        if key not in self.known:
            self.known[key] = self.outputs(self.tensors(changes))
        return self.known[key]

    def by_other_libraries(self) -> list[dict[str, Any]]:
        """Changes that sound apps may make as well; of texts none.

        JPEGs decoded with a coarser transform and colours, and levels that are not rounded.
        """
        if not isinstance(self.contract.preprocessing, ImagePreprocessing):
            return []
        return [{"fine": False}, {"whole": False}]

    def said(self, inputs: Sequence[Mapping[str, Array]]) -> list[Arrays]:
        """The tensors that an app fed, in the shapes and types that the model takes.

        Raises:
            ValueError: Their sizes are not the model's.
        """
        return [
            {name: _as(given[name].reshape(own.shape), own.dtype) for name, own in right.items()}
            for given, right in zip(inputs, self.tensors({}), strict=True)
        ]

    def unit(self) -> Any:
        """What differences of tensors are counted in: levels of pixels, or single tokens."""
        preprocessing = self.contract.preprocessing
        scaled = self.contract.takes == "normalized_image"
        if not (isinstance(preprocessing, ImagePreprocessing) and scaled):
            return 1.0
        std = np.array(preprocessing.std)
        return 1 / (std[::-1] if preprocessing.channel_order == "bgr" else std)


def _as(values: Array, dtype: Any) -> Array:
    """Numbers of another type; those outside of a byte wrap around, as casts do."""
    whole = np.issubdtype(dtype, np.integer)
    return (np.rint(values).astype(np.int64) if whole else values).astype(dtype)
