"""What is in a SavedModel folder, read without loading the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework import op_def_registry

from tltool.export.formats.inspection import Inspection
from tltool.export.formats.runtime import Runtime, version_key
from tltool.export.signatures import Signature, TensorInfo
from tltool.support.errors import DamagedError
from tltool.support.files import size_of
from tltool.support.quiet import quiet

# The oldest TensorFlow that exports are tried in (`make test-runtimes`), and the operators that
# each version since has in its registry and the one before had not, but for those of TPUs.
_OLDEST = "2.15"
_NEW_OPERATORS = {
    "2.16": {"DatasetFingerprint", "GlobalIterId", "ListSnapshotChunksDataset"},
    "2.17": {
        "CalibrationStatisticsSaver",
        "GlobalShuffleDataset",
        "IndexFlatMapDataset",
        "IteratorGetModelProto",
        "WeightedFlatMapDataset",
    },
    "2.18": {"CheckPinned"},
    "2.20": {"DecodeWebP"},
    "2.21": {"DecodeJxl"},
}
# TensorFlow's own, beside those that a user calls.
_INTERNAL_SIGNATURES = {"__saved_model_init_op", "__saved_model_train_op"}


def read_saved_model(folder: Path) -> Inspection:
    """Reads a SavedModel's graph with its functions, and the list of its variables.

    For operators that TensorFlow alone does not have, a library such as
    tensorflow_text must be imported before the model is loaded.

    Raises:
        DamagedError: The graph cannot be read, or variables are missing.
    """
    message = SavedModel()
    try:
        message.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise DamagedError("saved_model.pb cannot be decoded") from error
    if not message.meta_graphs:
        raise DamagedError("saved_model.pb holds no graph")
    meta = message.meta_graphs[0]
    graph = meta.graph_def
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    functions = {function.signature.name for function in graph.library.function}
    operators = Counter(node.op for part in nodes for node in part if node.op not in functions)
    signatures = [
        Signature(name, _tensors(signature.inputs), _tensors(signature.outputs))
        for name, signature in sorted(meta.signature_def.items())
        if name not in _INTERNAL_SIGNATURES
    ]
    return Inspection(
        path=folder,
        form="SavedModel",
        size_bytes=size_of(folder),
        signatures=tuple(signatures),
        operators=dict(operators.most_common()),
        not_built_in=tuple(sorted(op for op in operators if op_def_registry.get(op) is None)),
        weights=_weights(folder / "variables"),
        runtime=Runtime("TensorFlow", oldest_tensorflow(operators)),
    )


def oldest_tensorflow(operators: Iterable[str]) -> str:
    """The oldest TensorFlow, from 2.15 on, that has all of these operators."""
    used = set(operators)
    needed = [version for version, new in _NEW_OPERATORS.items() if new & used]
    return max([_OLDEST, *needed], key=version_key)


def _tensors(named: Any) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name, tf.dtypes.as_dtype(info.dtype).name, _shape(info.tensor_shape))
        for name, info in sorted(named.items())
    )


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if size.size < 0 else size.size for size in shape.dim)


def _weights(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    try:
        with quiet():
            checkpoint = tf.train.load_checkpoint(str(folder / "variables"))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise DamagedError("the list of its variables cannot be read") from error
    shapes = checkpoint.get_variable_to_shape_map()
    totals: Counter[str] = Counter()
    for name, dtype in checkpoint.get_variable_to_dtype_map().items():
        if dtype != tf.string:
            totals[dtype.name] += dtype.size * tf.TensorShape(shapes[name]).num_elements()
    stored = sum(file.stat().st_size for file in folder.glob("variables.data-*"))
    if stored < totals.total():
        raise DamagedError(f"its variables need {totals.total():,} bytes and have {stored:,}")
    return dict(totals.most_common())
