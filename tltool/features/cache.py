"""The frozen-feature cache: what frozen layers give is computed once and kept on disk.

In each phase the model is cut at its first trainable layer (`tltool.graph.cut`). The
prefix runs once for each example, in inference mode, and the rest trains on
what was stored. An entry's key is made of everything its values depend on:
the prefix's layers and weights, the preprocessing, the examples' contents, the
boundary and the stored type. So equal keys mean equal values, for later
phases, later runs and other commands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import keras
import tensorflow as tf

from tltool._version import __version__
from tltool.data.batches.source import Source
from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.features.frozen_layers import FrozenLayers, batch_order, spread_batches
from tltool.features.keys import layers_digest, weights_digest
from tltool.features.rows import Rows, entry_source, stored_source
from tltool.features.store import Entry, FeatureStore, TensorSpec, Writer, entry_bytes
from tltool.graph.cut import Cut, bridge
from tltool.model.lora import idle_adapters
from tltool.recipe.augment_layers import BATCH_LAYERS
from tltool.recipe.schema import AugmentSection, CacheSection
from tltool.support.files import size_text
from tltool.support.progress import Progress
from tltool.support.spread import Spread

# The first batch traces and warms up; the next ones, until so much time has passed, are measured.
_MEASURED_SECONDS = 1.0
# Storing may take this share of one pass more than it saves, since it spares later runs that pass.
_TOLERATED = 0.05


@dataclass(frozen=True)
class Boundary:
    """A cut with what the decision for it depends on.

    Attributes:
        cut: Where the frozen part ends.
        title: For people, such as "block4".
        epochs: How often its features will be read.
    """

    cut: Cut
    title: str
    epochs: int


@dataclass(frozen=True)
class Served:
    """Stored features for a phase.

    Attributes:
        boundary: Where they come from.
        entries, sets: Of the training and the validation examples: one for
            both, or one for each.
        seed: Of the choice among views.
    """

    boundary: Boundary
    entries: tuple[Entry, ...]
    sets: tuple[Rows, ...]
    seed: int

    @property
    def digests(self) -> list[str]:
        """What tells the stored values from others."""
        return [entry.digest for entry in self.entries]

    def source(self, examples: Examples, *, training: bool, few_widths: bool = False) -> Source:
        """Features in place of the model inputs of training or validation examples."""
        index = 0 if training else -1
        return stored_source(
            self.entries[index],
            _dtypes(self.boundary.cut),
            self.sets[index],
            examples,
            self.seed,
            few_widths=few_widths,
        )


class FeatureCache:
    """Stored features of a data set's examples, for any boundary of a model.

    Args:
        section: Use, type and budget.
        examples: Those of training and validation.
        contract: The preprocessing contract.
        augment: Changes to training images, or None.
        seed: Of the changes.
        about: Backbone and data, for `tltool cache list`.
        progress: Is told what was decided.
        store: Where entries are kept; None takes the cache folder.
        spread: Where frozen layers run; where that is elsewhere, they are stored without asking
            whether it pays.
        layers: The frozen ones, where it is asked for features of one boundary alone and others
            have traced them; None traces them for each entry.
    """

    def __init__(
        self,
        section: CacheSection,
        examples: Examples,
        contract: ImagePreprocessing | TextPreprocessing,
        *,
        augment: AugmentSection | None = None,
        seed: int = 0,
        about: dict[str, Any] | None = None,
        progress: Progress | None = None,
        store: FeatureStore | None = None,
        spread: Spread | None = None,
        layers: FrozenLayers | None = None,
    ) -> None:
        self._section = section
        self._examples = examples
        self._contract = contract
        self._augment = augment
        self._seed = seed
        self._about = about or {}
        self._progress = progress or Progress()
        self._store = store or FeatureStore(max_bytes=int(section.max_gb * 10**9))
        self._spread = spread or Spread()
        self._layers = layers
        self._known_sets: tuple[Rows, ...] = ()
        self._out_of_order = False
        self._surely = False

    def unchanged(self) -> FeatureCache:
        """That of the same examples without `augment`."""
        if self._augment is None:
            return self
        return FeatureCache(
            self._section,
            self._examples,
            self._contract,
            about=self._about,
            progress=self._progress,
            store=self._store,
            spread=self._spread,
            layers=self._layers,
        )

    def serve(
        self,
        boundary: Boundary,
        shallower: Sequence[Boundary] = (),
        *,
        decided: bool | None = None,
    ) -> Served | None:
        """Stored features for a phase, computed now where they are missing and it pays.

        Args:
            boundary: Where the phase's frozen part ends.
            shallower: Boundaries of later phases below it, which stay frozen
                until then: where storing these pays too, this one's features
                are computed from theirs.
            decided: Whether they are stored, where that is settled and not to be measured.

        Returns:
            What to read, or None to compute the frozen layers in every epoch.
        """
        if reason := self._refusal():
            self._tell(boundary, reason)
            return None
        if self._out_of_order:
            return None
        if decided is False:
            self._tell(boundary, "computed in every epoch, as before the stop")
            return None
        self._surely = decided is True or self._section.use == "always"
        entries = []
        for rows in self._sets():
            try:
                entry = self._entry(boundary, rows, shallower)
            except OSError as error:
                self._out_of_order = True
                self._tell(
                    boundary,
                    f"computed in every epoch, as those of later phases: {self._store.folder} "
                    f"can't be used ({error.strerror or error})",
                )
                return None
            if entry is None:
                return None
            entries.append(entry)
        return Served(boundary, tuple(entries), self._sets(), self._seed)

    def _tell(self, boundary: Boundary, text: str) -> None:
        self._progress.note(f"frozen layers up to {boundary.title}: {text}")

    def _refusal(self) -> str | None:
        if self._section.use == "never":
            return "computed in every epoch (cache.use: never)"
        layers = () if self._augment is None else self._augment.layers
        mixing = [entry.layer for entry in layers if entry.layer in BATCH_LAYERS]
        if mixing:
            return f"computed in every epoch, since {mixing[0]} mixes the images of each batch"
        if self._augment is not None and self._augment.views is None:
            return (
                "computed in every epoch, since augmentation changes the images anew in each; "
                "augment.views=4 would store four ways of changing each image"
            )
        return None

    def _sets(self) -> tuple[Rows, ...]:
        if not self._known_sets:
            examples, contract = self._examples, self._contract
            if self._augment is None:
                self._known_sets = (Rows.of(examples, contract),)
            else:
                # Only training images are changed.
                changed = Rows.of(examples.split("train"), contract, self._augment, self._seed)
                held_out = examples.split("validation")
                plain = (Rows.of(held_out, contract),) if len(held_out) else ()
                self._known_sets = (changed, *plain)
        return self._known_sets

    def _entry(
        self,
        boundary: Boundary,
        rows: Rows,
        shallower: Sequence[Boundary] = (),
    ) -> Entry | None:
        """The entry, found or made, or None; says what was decided and why."""
        specs = self._specs(boundary.cut)
        key = self._key(boundary.cut, rows)
        needed = entry_bytes(specs, rows.count, rows.num_tokens)
        with self._store.locked(key):
            entry = self._store.find(key)
            if entry is not None:
                self._tell(
                    boundary, f"read from disk, {size_text(entry.num_bytes)} computed earlier"
                )
                return entry
            if needed > (room := self._store.room()):
                self._tell(
                    boundary,
                    f"computed in every epoch: {size_text(needed)} are more than there is room "
                    f"for, {size_text(room)} (cache.max_gb and the free disk)",
                )
                return None
            below = self._below(boundary, rows, shallower)
            return self._made(boundary, rows, key, specs, below)

    def _below(
        self, boundary: Boundary, rows: Rows, shallower: Sequence[Boundary]
    ) -> tuple[keras.Model, Source] | None:
        """The layers from a stored shallower boundary to this one, and what they read."""
        for lower in shallower:
            between = bridge(lower.cut, boundary.cut)
            if between is None:
                continue
            entry = self._entry(lower, rows)
            if entry is not None:
                return between, entry_source(entry, _dtypes(lower.cut), rows)
        return None

    def _made(
        self,
        boundary: Boundary,
        rows: Rows,
        key: str,
        specs: Sequence[TensorSpec],
        below: tuple[keras.Model, Source] | None,
    ) -> Entry | None:
        started = time.perf_counter()
        about = {**self._about, "up_to": boundary.title, "examples": len(rows.keys)}
        examples = None if self._surely else len(rows.keys)
        meter = _Meter(rows.count, boundary.epochs, examples)
        try:
            with self._store.writing(key, specs, rows.count, rows.lengths, about) as writer:
                if below is None and self._spread.elsewhere:
                    self._write_spread(boundary.cut.prefix, key, rows, specs, writer)
                else:
                    model, source = below or (boundary.cut.prefix, rows.source)
                    order = batch_order(rows.lengths, source.count)
                    known = self._layers if below is None else None
                    layers = known or FrozenLayers(model)
                    for numbers, values in layers.batches(source, order):
                        writer.write(numbers, values)
                        meter.add(len(numbers), layers.seconds, writer)
        except _NotStoredError as decided:
            self._tell(boundary, f"computed in every epoch: {decided}")
            return None
        seconds = time.perf_counter() - started
        self._tell(
            boundary,
            f"computed once for {_count(boundary.epochs, 'epoch')}: {rows.count:,} rows, "
            f"{size_text(writer.num_bytes)}, {seconds:.1f} s",
        )
        return self._store.find(key)

    def _write_spread(
        self,
        model: keras.Model,
        key: str,
        rows: Rows,
        specs: Sequence[TensorSpec],
        writer: Writer,
    ) -> None:
        dtypes = [spec.dtype for spec in specs]
        with self._progress.rows("Frozen layers", rows.count) as advance:
            for numbers, values in spread_batches(model, key, rows, dtypes, self._spread):
                writer.write(numbers, values)
                advance(len(numbers))

    def _specs(self, cut: Cut) -> list[TensorSpec]:
        by_token = isinstance(self._contract, TextPreprocessing)
        return [_spec(tensor, self._section.dtype, by_token) for tensor in cut.crossing]

    def _key(self, cut: Cut, rows: Rows) -> str:
        # Before LoRA trains, its random matrices are in the prefix and change nothing there.
        idle = {id(weight) for weight in idle_adapters(node.operation for node in cut.nodes)}
        parts = (
            f"tltool {__version__} keras {keras.__version__} tensorflow {tf.__version__}",
            layers_digest(cut.nodes),
            weights_digest(weight for weight in cut.weights if id(weight) not in idle),
            *(f"{t.shape} {t.dtype} {t._keras_history.operation.name}" for t in cut.crossing),
            rows.digest(),
            self._section.dtype,
        )
        return sha256(json.dumps(parts).encode()).hexdigest()[:40]


class _NotStoredError(Exception):
    """Ends the writing of an entry: why it is not stored."""


class _Meter:
    """Measures the prefix and the writing on the first batches, and decides whether it pays.

    Storing costs one pass over all rows, the writing, and the reading in every
    epoch (taken to be as slow as the writing); not storing costs a pass over
    the examples in every epoch.

    Args:
        rows: To be stored, all views together.
        epochs: Passes to come.
        examples: Read in one epoch; None stores without asking.
    """

    def __init__(self, rows: int, epochs: int, examples: int | None) -> None:
        self._rows, self._epochs, self._examples = rows, epochs, examples
        self._batches, self._measured, self._seconds = 0, 0, 0.0

    def add(self, rows: int, seconds: float, writer: Writer) -> None:
        """One more batch is done; raises `_NotStoredError` where storing does not pay."""
        self._batches += 1
        if self._examples is None or self._batches == 1 or self._seconds > _MEASURED_SECONDS:
            return
        self._measured += rows
        self._seconds += seconds
        if self._seconds > _MEASURED_SECONDS:
            self._decide(self._examples, writer)

    def _decide(self, examples: int, writer: Writer) -> None:
        computing = self._seconds / self._measured
        writing = writer.seconds / max(1, writer.num_written)
        reading = self._epochs * examples * writing
        stored = self._rows * (computing + writing) + reading
        anew = self._epochs * examples * computing
        if stored > anew + _TOLERATED * examples * computing:
            raise _NotStoredError(
                f"storing {size_text(writer.num_bytes)} would take {stored:.0f} s with the "
                f"reading, computing takes {anew:.0f} s for {_count(self._epochs, 'epoch')}"
            )


def _spec(tensor: Any, dtype: str, by_token: bool) -> TensorSpec:
    """How a symbolic tensor (batch[, tokens], …) is stored."""
    own = keras.backend.standardize_dtype(tensor.dtype)
    stored = dtype if "float" in own else own
    by_token = by_token and len(tensor.shape) > 1 and tensor.shape[1] is None
    shape = tensor.shape[2:] if by_token else tensor.shape[1:]
    return TensorSpec(tuple(int(length) for length in shape), stored, by_token)


def _dtypes(cut: Cut) -> list[str]:
    return [keras.backend.standardize_dtype(tensor.dtype) for tensor in cut.crossing]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
