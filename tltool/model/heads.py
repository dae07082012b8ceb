"""Task heads: what turns a backbone's features into a task's raw outputs.

A head is a function `head(features, task, **options)` that returns a Keras
tensor of shape (batch, *task.target.output_shape): logits, or the standardised
target for regression. A head of your own is found by one of

- `@tltool.register_head("my_head")` and `head: my_head` in the recipe,
- `head: package.module:function` in the recipe,
- an entry point of the group `tltool.heads` in an installed package.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tltool.backbones.base import Features
from tltool.data.preprocessing import PairForm
from tltool.model.map_heads import deeplab_head, fpn_head
from tltool.recipe.schema import HeadSection
from tltool.support.errors import HeadError, did_you_mean
from tltool.support.imports import import_named, installed, load
from tltool.support.items import shape_fits
from tltool.tasks.table import Task
from tltool.tasks.tags.word_split import NO_WORD, NUM_SHAPES

Head = Callable[..., Any]
# Channels of what a word and its neighbours look like.
_SHAPE_UNITS = 32
_NOT_OPTIONS = {"name", "search", "dimensions", "weights_file", "options"}


SHAPES = "head_shapes"
"""The layer that says what words look like."""


def default_head(
    features: Features,
    task: Task,
    *,
    hidden_units: Sequence[int] = (),
    dropout: float = 0.1,
    activation: str = "relu",
    l2: float = 0.0,
) -> Any:
    """Dropout and dense layers on the features that the target reads, the last one linear.

    Args:
        features: Uses those of `task.target.reads`: by default `features.pooled`,
            (batch, channels); of others each place has an output of its own. Of a
            pyramid it takes the dropout alone, and gives it to `fpn_head`.
        task: Sets the width of the last layer.
        hidden_units: Widths of hidden layers before it.
        dropout: Share of the inputs of each dense layer that is dropped.
        activation: Of the hidden layers.
        l2: Factor of the L2 penalty on every kernel.

    Returns:
        Raw outputs, (batch, …, task.num_outputs), float32.

    Raises:
        HeadError: The backbone has no such features.
    """
    if task.target.reads == "pyramid":
        return fpn_head(features, task, dropout=dropout)
    x = getattr(features, task.target.reads)
    if x is None:
        raise HeadError(
            f"The task {task.spec.name!r} reads {task.target.reads} features, and the backbone "
            "has none.",
            hint="choose another backbone: `tltool models list`",
        )
    if features.shapes is not None:
        x = _with_shapes(x, features.shapes)
    return _dense_layers(x, task, hidden_units, dropout, activation, l2)


def two_towers(
    features: Features,
    task: Task,
    *,
    compare: Literal["vectors", "cosine"] = "vectors",
    hidden_units: Sequence[int] = (),
    dropout: float = 0.1,
    activation: str = "relu",
) -> Any:
    """Compares the vectors of the two texts of a pair, which are encoded apart.

    Args:
        features: Uses `features.pooled`, (2 n, channels): the second text of each
            pair after the first.
        task: Of pairs of texts.
        compare: What dense layers read: "vectors" is all that `PairComparison`
            makes of them; "cosine" the cosine alone, in one linear layer, so
            that vectors of equal texts get the largest number.
        hidden_units, dropout, activation: As of the default head, for "vectors".

    Returns:
        Raw outputs, (n, task.num_outputs), float32.

    Raises:
        HeadError: The task has no pairs, or an option is not allowed.
    """
    from keras import initializers, layers

    from tltool.backbones.networks.layers import PairComparison

    if task.spec.modality != "text_pair":
        raise HeadError(
            f"head.name: two_towers compares the texts of pairs; {task.spec.name} has none.",
            hint="Use head=default, or a task such as text-pair-regression.",
        )
    if compare not in ("vectors", "cosine"):
        raise HeadError(
            f"head.options.compare: {compare!r} is not allowed.", hint="Use vectors or cosine."
        )
    if compare == "cosine" and hidden_units:
        raise HeadError(
            f"head.options.hidden_units: {list(hidden_units)} read vectors, and compare is cosine.",
            hint="Leave them out, or use compare: vectors.",
        )
    x = PairComparison(compare, dtype="float32", name="head_comparison")(features.pooled)
    if compare == "vectors":
        return _dense_layers(x, task, hidden_units, dropout, activation, 0.0)
    if task.labels:
        return _linear(x, task)
    # Cosines of 0 and 1 begin as two standard deviations below and above the mean.
    rising = {
        "kernel_initializer": initializers.Constant(4.0),
        "bias_initializer": initializers.Constant(-2.0),
    }
    return layers.Dense(task.num_outputs, dtype="float32", name="head_output", **rising)(x)


def _dense_layers(
    x: Any, task: Task, hidden_units: Sequence[int], dropout: float, activation: str, l2: float
) -> Any:
    from keras import layers, regularizers

    def penalty() -> Any:
        return regularizers.L2(l2) if l2 else None

    for index, units in enumerate(hidden_units, start=1):
        x = layers.Dropout(dropout, name=f"head_dropout{index}")(x)
        name = f"head_hidden{index}"
        x = layers.Dense(units, activation, kernel_regularizer=penalty(), name=name)(x)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    return _linear(x, task, penalty())


def _linear(x: Any, task: Task, regularizer: Any = None) -> Any:
    """The last layer, with the bias that the target starts from."""
    from keras import layers

    # float32 whatever the precision: a softmax of half-precision logits loses small probabilities.
    last = layers.Dense(
        task.num_outputs,
        kernel_initializer=task.target.initial_kernel(int(x.shape[-1])),
        kernel_regularizer=regularizer,
        dtype="float32",
        name="head_output",
    )
    output = last(x)
    if (bias := task.target.initial_bias()) is not None:
        last.bias.assign(bias)
    return output


def multi_level_head(
    features: Features, task: Task, *, levels: int | None = None, dropout: float = 0.1
) -> Any:
    """One linear layer on the means of a CNN's maps of several sizes.

    The last map says what a picture shows; earlier ones tell textures, edges and
    their amount, which counts and measurements need (Head2Toe, Evci et al. 2022,
    arXiv:2201.03529, without its selection of features).

    Args:
        features: Uses `features.pyramid`, maps (batch, height, width, channels).
        task: Sets the width of the layer.
        levels: How many maps, the largest first; None takes all.
        dropout: Share of the means that is dropped.

    Returns:
        Raw outputs, (batch, task.num_outputs), float32.

    Raises:
        HeadError: The backbone makes no maps, or not so many.
    """
    from keras import layers

    found = len(features.pyramid)
    count = found if levels is None else levels
    if not found:
        raise HeadError(
            "head.name: multi_level needs a CNN; this backbone makes no maps.",
            hint="Leave out `head.name`: the default head takes every backbone.",
        )
    if not 1 <= count <= found:
        raise HeadError(
            f"head.options.levels: received {levels}; this backbone makes maps of {found} sizes.",
            hint=f"Use a whole number from 1 to {found}, or leave it out for all.",
        )
    means = [
        layers.GlobalAveragePooling2D(name=f"head_mean{number}")(level)
        for number, level in enumerate(features.pyramid[:count], start=1)
    ]
    x = layers.Concatenate(name="head_means")(means) if count > 1 else means[0]
    return _linear(layers.Dropout(dropout, name="head_dropout")(x), task)


def _with_shapes(sequence: Any, shapes: Any) -> Any:
    """Token features with what words look like beside them, and two neighbours on each side.

    A tokenizer that lowers all letters hides from the backbone what names look like.
    """
    import numpy as np
    from keras import layers

    one_hot = layers.Embedding(
        NUM_SHAPES, NUM_SHAPES, trainable=False, dtype="float32", name=SHAPES
    )
    own = one_hot(shapes)
    # What is no word is 0, as is what a convolution finds beyond the end: padding changes nothing.
    one_hot.set_weights([np.diag(np.arange(NUM_SHAPES) != NO_WORD).astype(np.float32)])
    around = layers.Conv1D(
        _SHAPE_UNITS, 5, padding="same", activation="relu", dtype="float32", name="head_around"
    )
    return layers.Concatenate(dtype="float32", name="head_features")([sequence, own, around(own)])


two_towers.pairs = "apart"  # type: ignore[attr-defined]
HEADS: dict[str, Head] = {
    "default": default_head,
    "multi_level": multi_level_head,
    "two_towers": two_towers,
    "fpn": fpn_head,
    "deeplab": deeplab_head,
}


def register_head(name: str, *, pairs: PairForm = "joined") -> Callable[[Head], Head]:
    """Makes a decorated function available as `head: name` in recipes.

    Args:
        name: In recipes.
        pairs: How it wants the texts of pairs: "joined" into one sequence, or
            "apart": `features` then have a row for each text, the second of
            each pair after the first, and the head returns a row for each pair.

    Raises:
        HeadError: The name is already taken by another function.
    """

    def register(head: Head) -> Head:
        if HEADS.get(name, head) is not head:
            raise HeadError(
                f"There is already a head named {name!r}.", hint="Choose another name for it."
            )
        HEADS[name] = head
        head.pairs = pairs  # type: ignore[attr-defined]
        return head

    return register


def find_head(name: str) -> Head:
    """The head of that name: registered, `module:function`, or an entry point.

    Raises:
        HeadError: It can't be found, or its module can't be imported.
    """
    if name in HEADS:
        return HEADS[name]
    if ":" in name:
        return import_named(name, "head.name", HeadError)
    others = installed("tltool.heads")
    if name in others:
        return load(others[name], "head.name", HeadError)
    known = sorted({*HEADS, *others})
    raise HeadError(
        f"head.name: there is no head {name!r}; the heads are {', '.join(known)}.",
        hint=did_you_mean(name, known)
        or "Register your own with @tltool.register_head, or write package.module:function.",
    )


def pair_form(name: str) -> PairForm:
    """How the head of that name wants the texts of pairs; see `register_head`.

    Raises:
        HeadError: It can't be found.
    """
    form: PairForm = getattr(find_head(name), "pairs", "joined")
    return form


def build_head(section: HeadSection, features: Features, task: Task) -> Any:
    """Calls the head a recipe names and checks what it returns.

    Raises:
        HeadError: An option is unknown to the head, or its output has the
            wrong shape.
    """
    head = find_head(section.name)
    if head is default_head:
        options: Mapping[str, Any] = section.model_dump(exclude=_NOT_OPTIONS)
    else:
        options = section.options
    try:
        inspect.signature(head).bind(features, task, **options)
    except TypeError as error:
        raise HeadError(
            f"head.options: the head {section.name!r} can't be called with "
            f"{sorted(options)}: {error}.",
            hint=f"Its signature is {section.name}{inspect.signature(head)}.",
        ) from error
    output = head(features, task, **options)
    shape = tuple(getattr(output, "shape", ()))
    wanted = (None, *task.target.output_shape)
    if not shape_fits(shape, wanted):
        raise HeadError(
            f"The head {section.name!r} returned shape {shape}, but the task "
            f"{task.spec.name!r} needs {wanted}.",
            hint="Return raw outputs (logits), one for each class; no softmax, no sigmoid.",
        )
    return output
