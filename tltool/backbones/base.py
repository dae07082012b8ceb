"""What a loaded backbone is: a functional model, its layer groups, features and preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.support.errors import BackboneError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Features:
    """What a head may build on, as symbolic Keras tensors of the backbone's own graph.

    Attributes:
        pooled: One vector an example, (batch, channels), pooled as that
            backbone means it (mean over real tokens, CLS, global average).
        sequence: Token outputs (batch, tokens, channels), or None for CNNs.
        mask: 1 for real tokens and 0 for padding, (batch, tokens), or None.
        shapes: What the word of each token looks like, numbers of
            `tltool.tasks.tags.word_split` (batch, tokens), where texts are read word by word.
        feature_map: Last map (batch, height, width, channels), or None for transformers.
        pyramid: Maps of falling size, the last one `feature_map`; heads of
            one's own get it (see `tltool.backbones.pyramid`).
        size_px: Height and width of the input, where there is a pyramid.
    """

    pooled: Any
    sequence: Any = None
    mask: Any = None
    shapes: Any = None
    feature_map: Any = None
    pyramid: tuple[Any, ...] = ()
    size_px: tuple[int, int] | None = None


@dataclass(frozen=True)
class LayerGroup:
    """Neighbouring layers that are frozen and trained together.

    Attributes:
        name: Such as `embeddings`, `block3`, `stem`, `stage4`.
        variables: Every variable of the group, statistics and seeds included.
    """

    name: str
    variables: tuple[keras.Variable, ...]

    @property
    def num_parameters(self) -> int:
        """Number of scalars in the group's weights (random seeds not counted)."""
        return sum(_size(v) for v in self.variables if not _is_seed(v))


def _is_seed(variable: Any) -> bool:
    return str(variable.dtype) in {"uint32", "int64"}


def _size(variable: Any) -> int:
    size = 1
    for length in variable.shape:
        size *= int(length)
    return size


@dataclass(frozen=True)
class Backbone:
    """A pretrained model, ready for a head.

    Attributes:
        name: As the recipe names it.
        model: Functional, from the preprocessed inputs to `features.pooled`.
            Text inputs are int32 (batch, tokens), named as in
            `preprocessing.inputs`; images are float32 (batch, height, width, 3).
        features: The tensors a head builds on.
        groups: Ordered from input to output; each weight is in exactly one.
        preprocessing: How raw input becomes the model's input.
        licence: Of the weights, as their source gives it.
        source: Where the weights came from.
        lacking: Layers that are as they were made, since the file of weights has none of their
            name: they must not be used.
    """

    name: str
    model: keras.Model
    features: Features
    groups: tuple[LayerGroup, ...]
    preprocessing: ImagePreprocessing | TextPreprocessing
    licence: str = "unknown"
    source: str = ""
    lacking: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        grouped = [id(v) for group in self.groups for v in group.variables]
        if len(grouped) != len(set(grouped)):
            raise BackboneError(f"Backbone {self.name!r}: a weight is in two layer groups.")
        lost = [v.path for v in self.model.variables if id(v) not in set(grouped)]
        if lost:
            raise BackboneError(
                f"Backbone {self.name!r}: {len(lost)} weights are in no layer group, "
                f"the first is {lost[0]!r}."
            )
