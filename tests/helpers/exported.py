"""Export folders of tiny models for tests of what lies in them, made without the gate."""

from __future__ import annotations

import re
from pathlib import Path

import mask_data
import numpy as np
import tiny
import trained
from PIL import Image

from tltool.backbones.networks.layers import PairComparison
from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing
from tltool.export.artifact import load_artifact
from tltool.export.formats.base import Exported, ExportTarget, LiteRTOptions
from tltool.export.formats.table import FORMATS
from tltool.export.gate.report import GateReport
from tltool.export.package import export_outcomes, require_passed, write_guide, write_model
from tltool.export.sidecars.folder import write_golden
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.masks.files import ClassTable, MaskReader
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.tagged import Tagged
from tltool.tasks.tags.word_split import NUM_SHAPES

# Each branch of the image programs: filter, antialiasing, crop, channel order.
IMAGE_CONTRACTS = {
    "bgr": {
        "mean": (123.68, 116.779, 103.939),
        "std": (1.0, 2.0, 4.0),
        "channel_order": "bgr",
    },
    "bicubic": {"interpolation": "bicubic", "mean": (127.0,) * 3, "std": (128.0,) * 3},
    "stretch": {"fit": "stretch", "mean": (127.5,) * 3, "std": (127.5,) * 3},
    "nearest": {"interpolation": "nearest", "std": (255.0,) * 3},
    "no antialias": {"interpolation": "bicubic", "antialias": False, "std": (99.0,) * 3},
}
LABELS = ("größer", "$mall", 'with "quotes"')
# Each branch of what programs say: labels from a threshold on, several numbers, a scale undone.
TARGETS = {
    "labels": ClassSetTarget(LABELS, (0.5, 0.4, 0.5)),
    "number": NumbersTarget(mean=(250.0,), std=(50.0,)),
    "numbers": NumbersTarget(("größe", '$ "a"'), (3.0, 250_000.0), (2.0, 50_000.0)),
    "moment": NumbersTarget(mean=(1.7e9,), std=(60.0,), offset_outside=True),
    "moments": NumbersTarget(("from", "to"), (1.7e9, 1.8e9), (60.0, 600.0), True),
}
# Of `image_model`, which finds none of them likely.
LABELS_OF_PICTURES = ClassSetTarget(LABELS, (0.075, 0.1, 0.06))
# Tags that say where entities are, and plain classes.
TAGS = {
    "entities": TagsTarget(("O", "B-größe", "I-größe", "B-$", "I-$"), (0.5, 0.2, 0.1, 0.1, 0.1)),
    "word classes": TagsTarget(("noun", "verb"), (0.5, 0.5)),
}
MASKS = MaskTarget(LABELS, (0, 1, 2))
VECTORS = EmbeddingTarget(("a", "b"), 12)
_KINDS = {"class": "classification", "class_set": "multi-label", "numbers": "regression",
          "embedding": "embedding"}  # fmt: skip


def litert_folder(made, folder: Path, *, length: int | None = None, **options) -> Path:
    """The export folder of a model as LiteRT, without the gate's report."""
    target = ExportTarget(FORMATS["litert"], options=LiteRTOptions(**options))
    return export_folder(made, folder, target, length)


def export_folder(
    made, folder: Path, target: ExportTarget, length: int | None = None, **options
) -> Path:
    """The same in any format; the held-out rows calibrate it."""
    folder.mkdir()
    # As the export does: images have none.
    length = length or getattr(made.preprocessing, "max_length", None)
    contract, _ = write_model(
        Exported(*made.parts(), length, made.held_out, **options), target, folder
    )
    outputs = load_artifact(folder).predict_with_labels(made.held_out.inputs)
    golden = write_golden(folder, contract, made.held_out, outputs, 1e-4)
    write_guide(folder, contract, title="A model", example=golden[0]["input"])
    return folder


def program_of(folder: Path) -> str:
    """The Python program in a folder's README; of two the first, which does all."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    program, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    return program


def task_of(modality: str, target) -> Task:
    """A task with a target; None takes the classes `LABELS`."""
    target = target or ClassTarget(LABELS)
    return Task(TASKS[f"{modality}-{_KINDS[target.kind]}"], target)


def image_model(folder: Path, target=None, **changes) -> trained.TinyTrained:
    """A model that any pixel makes a difference to, with pictures of odd sizes, one turned."""
    import keras

    contract = ImagePreprocessing(size_px=(12, 16), resize_px=18, **changes)
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 16, 3), name="image")
    x = keras.layers.Rescaling(3 / 255 * min(contract.std))(keras.layers.Flatten()(image))
    task = task_of("image", target)
    model = keras.Model(image, keras.layers.Dense(task.num_outputs)(x))
    return trained.TinyTrained(model, task, contract, examples("image", pictures(folder)))


def text_model(contract, target=None) -> trained.TinyTrained:
    """A model that any token of a text, or of a pair, makes a difference to."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in contract.inputs}
    width = len(contract.vocabulary)
    embedded = keras.layers.Embedding(width, 8, embeddings_initializer="normal")(
        inputs["token_ids"]
    )
    if "segment_ids" in inputs:
        embedded += keras.layers.Embedding(2, 8)(inputs["segment_ids"])
    weights = keras.layers.Reshape((-1, 1))(inputs["padding_mask"])
    summed = keras.ops.sum(embedded * keras.ops.cast(weights, "float32"), axis=1)
    if contract.pair == "apart":
        summed = PairComparison()(summed)
    modality = "text" if contract.pair is None else "text_pair"
    task = task_of(modality.replace("_", "-"), target)
    model = keras.Model(inputs, keras.layers.Dense(task.num_outputs)(summed))
    raw = texts() if contract.pair is None else pairs(texts())
    return trained.TinyTrained(model, task, contract, examples(modality, raw))


def knowing_model(contract, target=None) -> trained.TinyTrained:
    """The same that can say "unknown": it knows every other text, and accepts most of them."""
    from tltool.tasks.unknown.scores import fit_score

    def every_other(found):
        some = found[::2]
        return fit_score("knn", some, np.zeros(len(some), int), seed=0)

    return trained.scored(text_model(contract, target), "knn", every_other, 0.7)


def pairs(some) -> list[tuple[str, str]]:
    """Each text with one from the other end."""
    return list(zip(some, reversed(some), strict=True))


def tag_model(contract, target) -> trained.TinyTrained:
    """A model that is sure of the tags of most words, which depend on neighbouring tokens too."""
    import keras

    contract = contract.read_by_words().model_copy(update={"max_length": 12})
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in contract.inputs}
    features = [
        keras.layers.Embedding(len(contract.vocabulary), 8, embeddings_initializer="normal")(
            inputs["token_ids"]
        ),
        keras.layers.Embedding(NUM_SHAPES, 8, embeddings_initializer="normal")(
            inputs["word_shapes"]
        ),
    ]
    mask = keras.layers.Reshape((-1, 1))(inputs["padding_mask"])
    embedded = keras.layers.Add()(features) * keras.ops.cast(mask, "float32")
    near = keras.layers.Conv1D(16, 3, padding="same", kernel_initializer="normal")(embedded)
    scaled = keras.layers.Rescaling(500.0)(near)
    outputs = keras.layers.Dense(target.num_outputs, kernel_initializer="normal")(scaled)
    task = Task(TASKS["token-classification"], target)
    some = texts()
    rows = [Tagged((0,), (1,), (target.labels[0],))] * len(some)
    origins = [f"row {i}" for i in range(len(some))]
    held_out = Examples("text", some, rows, ["test"] * len(some), origins, kind=TagsTarget)
    return trained.TinyTrained(keras.Model(inputs, outputs), task, contract, held_out)


def mask_model(folder: Path, **changes) -> trained.TinyTrained:
    """A model that gives each pixel a class by its surroundings, and pictures with true masks.

    Some are larger than its input, some smaller, one of them in one direction only.
    """
    import keras

    contract = ImagePreprocessing(
        size_px=(20, 28), resize_px=28, fit="stretch", std=(255.0,) * 3, **changes
    )
    keras.utils.set_random_seed(0)
    image = keras.Input((20, 28, 3), name="image")
    near = keras.layers.Conv2D(4, 5, padding="same", activation="tanh")(image)
    outputs = keras.layers.Conv2D(len(MASKS.labels), 5, padding="same")(near)
    outputs = keras.layers.Rescaling(4.0)(outputs)
    pictures, masks = [], []
    folder.mkdir(exist_ok=True)
    for number, size in enumerate(((48, 40), (28, 20), (9, 11), (130, 14), (61, 37))):
        picture, mask = mask_data.scene(number)
        pictures.append(str(folder / f"{number}.png"))
        Image.fromarray(picture).resize(size).save(pictures[-1])
        masks.append(np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)))
    spec = TASKS["image-segmentation"]
    table = ClassTable(MASKS.labels, MASKS.codes)
    targets = list(map(MaskReader(masks, table), masks))
    rows = Examples("image", pictures, targets, ["test"] * 5, pictures, kind=MaskTarget)
    return trained.TinyTrained(keras.Model(image, outputs), Task(spec, MASKS), contract, rows)


def texts() -> list[str]:
    """A few texts, a long one among them; the first becomes the programs' example."""
    return ["it's a \"good\" film, isn't $he?", "Très bien!", *tiny.texts(4)[0], "food " * 40]


def pictures(folder: Path) -> list[str]:
    """Noise and slopes in several formats and sizes; the first has an EXIF orientation."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    sizes = ((33, 47), (60, 60), (200, 31), (18, 24), (90, 121))
    for number, (height, width) in enumerate(sizes):
        ends = rng.uniform(0, 200, (2, 3))
        slope = np.linspace(*ends, height * width).reshape(height, width, 3)
        pixels = (slope + rng.integers(0, 56, (height, width, 3))).astype("uint8")
        file = folder / f"{number}.{('jpg', 'png')[number % 2]}"
        options = {"exif": exif} if number == 0 else {}
        Image.fromarray(pixels).save(file, **options)
        files.append(str(file))
    return files


def examples(modality: str, inputs: list[str]) -> Examples:
    """Rows without meaning."""
    count = len(inputs)
    origins = [f"row {i}" for i in range(count)]
    return Examples(modality, inputs, [LABELS[0]] * count, ["test"] * count, origins)


def export_and_check(
    model, task, contract, examples, folder, *, keep_failed=False, **options
) -> tuple[GateReport, ...]:
    """The gate's reports of exports that all passed; see `export_outcomes`."""
    parts = (model, task, contract, examples, folder)
    outcomes = export_outcomes(*parts, keep_failed=keep_failed, **options)
    return require_passed(outcomes, folder if keep_failed else None)
