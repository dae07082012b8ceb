"""A SavedModel in memory: its signatures, its golden examples, and running it on requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tltool.data.images.headers import declared
from tltool.data.preprocessing import TextPreprocessing
from tltool.export.contract import GOLDEN_FILE, MAIN_SIGNATURE, RAW_INPUTS
from tltool.export.feeding import raw_inputs
from tltool.serving.exports import ServedExport
from tltool.serving.limits import Limits, RefusedError
from tltool.serving.tensors import DTYPES, Array, PredictRequest, Spec
from tltool.serving.tokens import checked_tokens
from tltool.support.errors import ExportError
from tltool.support.files import read_json
from tltool.support.quiet import load_tensorflow, quiet


class ServedModel:
    """Loads a SavedModel and answers its golden examples.

    Safe to use from several threads.

    Args:
        export: Where it is.
        limits: Those of images and texts are used here.

    Raises:
        ExportError: It cannot be loaded, or does not answer its golden
            examples here as it did where it was exported.
    """

    def __init__(self, export: ServedExport, limits: Limits) -> None:
        load_tensorflow()
        import tensorflow as tf

        self.export = export
        self._limits = limits
        self._definitions = _signature_definitions(export)
        try:
            with quiet():
                # Kept whole: it owns the weights that its signatures use.
                self._loaded = tf.saved_model.load(str(export.model))
        except (tf.errors.OpError, OSError, ValueError) as error:
            raise ExportError(
                f"{export.model} cannot be loaded: {error}", hint="export again"
            ) from error
        self.signatures = {
            name: _input_specs(self._definitions[name], export) for name in self._loaded.signatures
        }
        self._answer_golden_examples()

    def metadata(self) -> dict[str, Any]:
        """The signatures, in the JSON form of protocol buffers."""
        from google.protobuf.json_format import MessageToDict

        return {
            name: MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, definition in sorted(self._definitions.items())
        }

    def predict(self, request: PredictRequest) -> dict[str, Array]:
        """The outputs by name; strings are arrays of bytes objects.

        Raises:
            RefusedError: 400 for an input that cannot be used, 413 for one
                that is too large, 429 where memory runs out.
        """
        import tensorflow as tf

        try:
            parts = [self._run(request.signature, part) for part in self._parts(request)]
        except tf.errors.InvalidArgumentError as error:
            raise RefusedError(400, self._reason(request, error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise RefusedError(429, "out of memory; send fewer rows", retry=True) from error
        padding = self.export.task.target.padding
        return {
            name: _together([part[name] for part in parts], padding.get(name)) for name in parts[0]
        }

    def _run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        import tensorflow as tf

        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        outputs = self._loaded.signatures[signature](**tensors)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _raw(self, request: PredictRequest) -> list[Array] | None:
        """Encoded images or texts of a request, if it has any; of pairs first and second texts."""
        if request.signature != MAIN_SIGNATURE:
            return None
        return [request.inputs[name] for name in RAW_INPUTS[self.export.task.spec.modality]]

    def _parts(self, request: PredictRequest) -> Iterator[Mapping[str, Array]]:
        """The inputs, in groups of rows that are computed at once."""
        raw, preprocessing = self._raw(request), self.export.preprocessing
        groups: Iterator[tuple[int, int]]
        if isinstance(preprocessing, TextPreprocessing):
            if raw is None:
                tokens = checked_tokens(request.inputs, preprocessing)
            else:
                lengths = [self._most_tokens(texts, preprocessing.max_length) for texts in raw]
                tokens = sum(lengths)
            # Both rows of a pair that is apart must stay together.
            size = 2 if raw is None and preprocessing.pair == "apart" else 1
            most = max(1, self._limits.tokens // (tokens * size))
            groups = ((a * size, b * size) for a, b in _groups([1] * (request.rows // size), most))
        elif raw is None:
            groups = iter([(0, request.rows)])
        else:
            groups = _groups(self._checked_pixels(raw[0]), self._limits.image_pixels)
        for start, stop in groups:
            yield {name: array[start:stop] for name, array in request.inputs.items()}

    def _most_tokens(self, texts: Array, max_length: int) -> int:
        """Tokens that the longest of the texts may have; none is empty or past the limit."""
        most = self._limits.text_bytes
        for row, text in enumerate(texts):
            if len(text) > most:
                raise RefusedError(413, f"row {row}: a text of {len(text)} bytes, allowed {most}")
            if not text.decode("utf-8", "replace").strip():
                raise RefusedError(400, f"row {row}: the text is empty; send one with words in it")
        # A token is a byte or more, but for those added around, and in the rare characters that
        # a tokenizer spells out (NFKC), which only make a group larger.
        longest = max(map(len, texts)) + 3
        if self.export.task.target.by_words:
            return 2 * longest  # windows overlap by half
        return min(max_length, longest)

    def _checked_pixels(self, images: Array) -> list[int]:
        """Pixels of each image, all of them within the limit."""
        sizes, most = [], self._limits.image_pixels
        for row, content in enumerate(images):
            found = declared(content)
            if found is None:
                raise RefusedError(
                    400,
                    f"row {row}: not a JPEG, PNG, GIF, BMP or WebP file, or its header is damaged",
                )
            if (pixels := found.pixels) > most:
                raise RefusedError(413, f"row {row}: an image of {pixels} pixels, allowed {most}")
            sizes.append(pixels)
        return sizes

    def _reason(self, request: PredictRequest, error: Any) -> str:
        """What is wrong with a request that TensorFlow refused, by its row where that is known."""
        import tensorflow as tf

        from tltool.data.images.preprocessor import decode_image, plain_message

        raw = self._raw(request)
        if raw is not None and self.export.task.spec.modality == "image":
            for row, content in enumerate(raw[0]):
                try:
                    decode_image(content)
                except tf.errors.InvalidArgumentError as found:
                    return f"row {row}: {plain_message(found)}"
        return plain_message(error)

    def _answer_golden_examples(self) -> None:
        """Runs the model before it is asked, on inputs whose answers are known."""
        folder, task = self.export.folder, self.export.task
        file = folder / GOLDEN_FILE
        hint = "keep the export folder together, or export again"
        try:
            golden = read_json(file)
            rows, tolerance = golden["examples"], float(golden["tolerance"])
            raw = [row["input"] for row in rows]
            if task.spec.modality == "image":
                raw = [(folder / name).read_bytes() for name in raw]
            columns = raw_inputs(raw, task.spec.modality)
            expected = task.target.from_golden([row[task.target.golden_name] for row in rows])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExportError(f"{file} cannot be used: {error}", hint=hint) from error
        inputs = {
            # Never a string array, nor one of two axes.
            name: np.array([*values, b""], object)[:-1]
            for name, values in columns.items()
        }
        found, _ = task.target.from_served(self._run(MAIN_SIGNATURE, inputs))
        difference = float(task.target.differences(expected, task.target.golden(found)).max())
        if not difference <= tolerance:
            raise ExportError(
                f"{self.export.model} answers its golden examples otherwise here than where it was "
                f"exported: they differ by {difference:.2g}, allowed {tolerance:.2g}.",
                hint="export again; the folder was changed, or this machine computes otherwise",
            )


def _together(parts: Sequence[Array], padding: Any) -> Array:
    """Groups of rows as one array; what is as long as a group needs is padded to the longest."""
    longest = max(part.shape[1:2] for part in parts)
    if all(part.shape[1:2] == longest for part in parts):
        return np.concatenate(parts)
    padded = []
    for part in parts:
        new = np.full((len(part), *longest, *part.shape[2:]), padding, part.dtype)
        new[:, : part.shape[1]] = part
        padded.append(new)
    return np.concatenate(padded)


def _groups(sizes: list[int], most: int) -> Iterator[tuple[int, int]]:
    """Neighbouring rows whose sizes add up to `most` at most, as (first, last + 1)."""
    start, total = 0, 0
    for row, size in enumerate(sizes):
        if row > start and total + size > most:
            yield start, row
            start, total = row, 0
        total += size
    yield start, len(sizes)


def _signature_definitions(export: ServedExport) -> dict[str, Any]:
    """The signatures as they stand in the file, TensorFlow's own included."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    message = SavedModel()
    try:
        message.ParseFromString((export.model / "saved_model.pb").read_bytes())
        return dict(message.meta_graphs[0].signature_def.items())
    except (DecodeError, IndexError, OSError) as error:
        raise ExportError(
            f"{export.model / 'saved_model.pb'} is damaged.", hint="export again"
        ) from error


def _input_specs(definition: Any, export: ServedExport) -> dict[str, Spec]:
    import tensorflow as tf

    specs = {}
    for name, info in sorted(definition.inputs.items()):
        dtype = tf.dtypes.as_dtype(info.dtype).name
        if dtype not in DTYPES or info.tensor_shape.unknown_rank or not info.tensor_shape.dim:
            raise ExportError(f"{export.model} has an input {name} that JSON cannot give.")
        shape = [None if size.size < 0 else size.size for size in info.tensor_shape.dim]
        specs[name] = Spec(dtype, tuple(shape))
    return specs
