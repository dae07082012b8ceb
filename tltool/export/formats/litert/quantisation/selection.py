"""Selective quantisation: everything in 8 bits but what has to stay in float.

What has to is measured, on training rows that no ranges were measured on: first
everything in 8 bits; then the operators without weights in float (the sums and
square roots of layer norms, softmax, GELU); then layers with weights as well, the
fewest that do, either the first of the network, whose errors go through all others
and which have few weights, or those whose numbers 8 bits suit least. In the end
operators without weights that do no harm are given back to 8 bits. Equal models and
rows give equal choices: the search ends after a number of trials, not of seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import tensorflow as tf

from tltool.export.formats.kept_float import KeptFloat, kinds_text
from tltool.export.formats.litert.quantisation.graph import (
    TABLES,
    WEIGHTED,
    Operator,
    beside,
    kinds_in_float,
    read_operators,
)
from tltool.export.formats.litert.quantisation.trial import Float, Inputs, Trials, quantise
from tltool.export.formats.litert.quantisation.unfit import by_unfitness
from tltool.recipe.export_section import Int8Section
from tltool.support.errors import ExportError
from tltool.tasks.target import Target

# Operators without weights cost nothing in float, so they must be all but harmless in 8 bits.
HARMLESS = 1.25


def quantise_selectively(
    calibrated: bytes,
    rows: Sequence[Inputs],
    target: Target,
    section: Int8Section,
    *,
    input_type: Any = tf.float32,
    no_kernel: frozenset[str] = frozenset(),
) -> tuple[bytes, KeptFloat]:
    """A model in 8 bits, and what of it stays in float.

    Args:
        calibrated: What the LiteRT converter gives where it only calibrates.
        rows: Preprocessed training rows for "auto", by input name.
        target: Compares the answers.
        section: What to keep in float, or how to find out.
        input_type: Of the model's inputs.
        no_kernel: Kinds of operators that the runtime has no 8-bit kernel for.

    Raises:
        ExportError: Nothing may stay in float and something must, or a
            pattern fits no operator.
    """
    operators = read_operators(calibrated)
    # What is said beside the result, such as how unknown an input is, is compared with a number.
    trials, least = None, Float(no_kernel, beside(calibrated, target.result_name))
    if section.keep_float == "none":
        kept = least
    elif section.keep_float == "auto":
        trials = Trials(calibrated, rows, target, section.max_trials, least)
        kept = _found(trials, operators, section.max_change)
    else:
        kept = least | _matching(operators, section.keep_float)
    content = quantise(calibrated, kept, input_type)
    kinds = kinds_in_float(content)
    if section.keep_float == "none" and kinds:
        raise ExportError(
            f"Not all of this model can be in 8 bits: {kinds_text(kinds)} would stay in float.",
            hint="a processor without floats cannot run it; for others set "
            "export.int8.keep_float to auto, or list what may stay in float",
        )
    weighted = [o for o in operators if o.kind in WEIGHTED and o.name in kept.names]
    return content, KeptFloat(
        kinds,
        tuple(_layer(o.name) for o in weighted),
        change=trials.change(kept) if trials else None,
        change_in_8_bits=trials.change(least) if trials else None,
        trials=len(trials.done) if trials else 0,
    )


def _layer(name: str) -> str:
    """The path of the Keras layer, without what the converter fused into its operator."""
    return name.split(";", maxsplit=1)[0]


def _matching(operators: Sequence[Operator], patterns: Sequence[str]) -> Float:
    kinds = frozenset(o.kind for o in operators if any(fnmatchcase(o.kind, p) for p in patterns))
    names = frozenset(o.name for o in operators if any(fnmatchcase(o.name, p) for p in patterns))
    for pattern in patterns:
        if not any(fnmatchcase(text, pattern) for o in operators for text in (o.kind, o.name)):
            raise ExportError(
                f"export.int8.keep_float: {pattern!r} fits no operator of this model.",
                hint=f"it has {', '.join(sorted({o.kind for o in operators}))}; names of "
                f"operators look like {operators[0].name!r}",
            )
    return Float(kinds, names)


def _found(trials: Trials, operators: Sequence[Operator], most: float) -> Float:
    """What to keep so that the answers change by at most `most`, or as little as can be had."""
    if trials.change(trials.least) <= most:
        return trials.least
    kinds = trials.least.kinds | {o.kind for o in operators if o.in_float} - WEIGHTED
    kept = Float(kinds)
    if trials.change(kept) > most:
        # Of a table single rows are read: its rounding is never added up.
        heavy = [o for o in operators if o.kind in WEIGHTED - TABLES and o.in_float]
        orders = (heavy, by_unfitness(trials.calibrated, heavy, trials.rows))
        found = [_with_layers(trials, kinds, [o.name for o in order], most) for order in orders]
        kept = min(found, key=lambda f: (max(trials.change(f), most), _weights(heavy, f)))
    return _slimmer(trials, kept)


def _weights(layers: Sequence[Operator], kept: Float) -> int:
    """How many weights the layers have that stay in float."""
    return sum(layer.weights for layer in layers if layer.name in kept.names)


def _with_layers(
    trials: Trials, kinds: frozenset[str], ranked: Sequence[str], most: float
) -> Float:
    """The fewest layers, in their order, found by halving what is left between too few and enough.

    At most half of the layers: a file with more of them in float is no longer small.
    """
    few, enough = 0, len(ranked) // 2
    best = Float(kinds, frozenset(ranked[:enough]))
    if trials.change(best) > most:
        return min((best, Float(kinds), trials.least), key=trials.change)
    while enough - few > 1 and trials.left > 0:
        middle = (few + enough) // 2
        tried = Float(kinds, frozenset(ranked[:middle]))
        if trials.change(tried) <= most:
            best, enough = tried, middle
        else:
            few = middle
    return best


def _slimmer(trials: Trials, kept: Float) -> Float:
    """Gives kinds of operators back to 8 bits, one after the other, where it does no harm."""
    limit = HARMLESS * trials.change(kept)
    for kind in sorted(kept.kinds - trials.least.kinds):
        if trials.left <= 0:
            break
        tried = Float(kept.kinds - {kind}, kept.names)
        if trials.change(tried) <= limit:
            kept = tried
    return kept
