"""The schema of a recipe: typed sections, their defaults and their limits.

Every field is described where it stands; `tltool recipes schema` prints the
same as JSON Schema for editors. Reading files and reporting faults is in
`tltool.recipe.recipe`. Importing this is cheap: no numerical library is loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from tltool.recipe.augment_layers import AugmentLayer
from tltool.recipe.export_section import ExportSection
from tltool.recipe.section import NOT_BOOL as _NOT_BOOL
from tltool.recipe.section import Count, Fraction, Label, Patterns, Section
from tltool.tasks.masks.files import code_of
from tltool.tasks.table import TASKS
from tltool.tasks.unknown.settings import Method
from tltool.tasks.values import BadValueError

SEEDS = 2**31
"""There are so many seeds, from 0."""
OnError = Literal["stop", "skip"]
Quoting = Literal["minimal", "none"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
View = Literal["horizontal_flip", "vertical_flip"]
ScheduleName = Literal[
    "feature_extraction",
    "fine_tune",
    "gradual",
    "linear_probe_then_fine_tune",
    "contrastive",
    "few_examples",
]

HIGHEST_RATE = 10.0
"""The highest learning rate that a recipe may have."""


def _mask_code(value: Any) -> Any:
    """A value or colour as it stands in the recipe, once it is known to be one."""
    try:
        code_of(value)
    except BadValueError as error:
        raise ValueError(str(error)) from None
    return value


MaskCode = Annotated[int | str, _NOT_BOOL, AfterValidator(_mask_code)]


class DataSection(Section):
    """Where the labelled data is and how it is split.

    Attributes:
        train: A folder of images (one folder a class, or `train/`, `validation/`
            and `test/` folders of those; or with a table beside the pictures,
            `metadata.csv`, `.jsonl` or `.parquet`, or `_classes.csv`); a table
            (CSV, TSV, JSON, JSON lines, Excel, Parquet, Arrow, TFRecord, tar of
            WebDataset), several by a pattern such as `data/train-*.parquet`, a
            folder of them, or one that `datasets` saved;
            `hf://datasets/org/name[@revision][/path]`; or `sample:NAME` for a
            set that tltool fetches itself.
        validation, test: Separate data of the same form; null splits them off `train`.
        added: More data of the same form as `train`, one or several, such as what came in
            since a first training (docs/retrain.md). Each is split by itself, so that the
            splits of all before stay as they are; inputs that these have are left out of it.
        validation_fraction, test_fraction: Share of the examples split off
            (stratified by class), where no separate data is given.
        input_column: Column with the text, or with the image: the path of its
            file (relative to the table's own folder), or its bytes.
        input_columns: The two columns of a pair of texts; null takes `text_a` and
            `text_b`. For `text-embedding` those of a text, of one that is like it,
            and maybe of one that is not, though it seems so (docs/embeddings.md).
        image_root: Folder that the paths of images in tables are relative to,
            looked up as `train` is; null takes the table's own.
        image_suffix: Added to the paths of images in tables that do not end in it.
        split_column: Column that says which rows of `train` are of which split:
            `train`, `validation` (`val`, `valid`, `dev`) or `test`.
        group_column: Column with what rows belong to that must not be divided,
            such as a patient, an author or a video: all rows of a group are on
            one side of every split and of every fold of a cross-validation.
        label_column: Column with the class name, with the labels of a row
            (`sea|trees`, `sea; trees`, a JSON list), with the number, or with the
            path of the mask; null takes `label`, or `mask` for segmentation. Of pairs
            for `text-embedding`, how alike they are, if they have such a number.
        label_columns: Several columns in its place: 0 or 1 for each label, or
            several numbers that are predicted together.
        label_separator: Between the labels in one cell; null finds it out.
        mask_classes: What stands in masks for each class, in the order of the
            classes: a value (`{background: 0, road: 1}`) or a colour (`{road:
            "#804080"}`); null takes the classes that annotations name, or each value
            that the masks have.
        mask_ignored: Value or colour in masks of pixels that count for nothing;
            null takes 255, where that is no class and there are two others.
        delimiter, encoding: Of a text table; null finds them out.
        quoting: Of a text table: "minimal" takes a field in quotes whole, line
            breaks too, as Excel writes it; "none" takes quotes for characters,
            as TSV files of corpora have them; null reads as "minimal" and
            stops where a quote joins lines that are rows by themselves.
        decisions: Table (CSV) of what was decided of single rows, as `tltool data audit`
            writes it and its page fills it in: rows are left out or get another label
            while they are read. It counts for `train`, `validation`, `test` and `added`.
        max_examples: Use at most this many examples of `train` (a stratified,
            seeded choice, made before splitting); of `added` all count.
        split_seed: Seed of the split and of `max_examples`.
        on_error: "stop" lists every broken file or row and stops before
            training; "skip" counts them, lists them and leaves them out.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None
    added: tuple[str, ...] = ()
    validation_fraction: Annotated[float, Field(ge=0.0, le=0.5), _NOT_BOOL] = 0.1
    test_fraction: Annotated[float, Field(ge=0.0, le=0.5), _NOT_BOOL] = 0.1
    input_column: str | None = None
    input_columns: Annotated[tuple[str, ...], Field(min_length=2, max_length=3)] | None = None
    label_column: str | None = None
    image_root: str | None = None
    image_suffix: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    label_columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    mask_classes: dict[Label, MaskCode] | None = None
    mask_ignored: MaskCode | None = None
    delimiter: str | None = None
    encoding: str | None = None
    quoting: Quoting | None = None
    decisions: str | None = None
    max_examples: Annotated[int, Field(ge=2), _NOT_BOOL] | None = None
    split_seed: Count = 0
    on_error: OnError = "stop"


class BackboneSection(Section):
    """The pretrained model.

    Attributes:
        name: A model card's name (`tltool models list`), such as
            `efficientnet-lite0`; `keras.applications.NAME`; `torchvision:NAME`;
            `hf://org/model`, `kaggle://…` or `pypi:…`; a KerasHub preset's name;
            or the path of a local folder of KerasHub, KerasCV, transformers or timm.
        max_length: Tokens at which texts are cut, special tokens included; null
            leaves 99 % of the training texts whole, within the card's length.
        image_size_px: Height and width of the input; null takes the card's.
        image_fit: How an image becomes square: "crop" keeps the centre,
            "stretch" all of it, which counts and labels that stand at the
            border need; null takes the card's.
        image_levels: "spread" makes the darkest place of each image black and its
            brightest white, inside the model, for images whose brightness says nothing, as of
            microscopes, X-rays and 16 bits; null leaves them.
        dropout: Dropout inside the backbone, where it has any; null keeps its own.
        weights_file: Weights of your own for this network, in place of those it
            comes with: `.keras` (such as the `model.keras` of a run),
            `.weights.h5` or `.h5`; for `efficientnet-lite0` and `torchvision:NAME`
            also a torch file.
    """

    name: str
    max_length: Annotated[int, Field(ge=4, le=8192), _NOT_BOOL] | None = None
    image_size_px: Annotated[int, Field(ge=16, le=2048), _NOT_BOOL] | None = None
    image_fit: Literal["crop", "stretch"] | None = None
    image_levels: Literal["spread"] | None = None
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), _NOT_BOOL] | None = None
    weights_file: str | None = None


class HeadSection(Section):
    """The task head on top of the backbone's features.

    Attributes:
        name: "default" (dropout, hidden layers, one linear layer), "multi_level" (one
            linear layer on the means of a CNN's maps of all sizes, for counts and
            textures), for masks "fpn" (the default one) or "deeplab", a registered
            head, or `package.module:function`.
        hidden_units: Widths of the hidden layers of the default head.
        dropout: Share of features dropped before each layer of the default head.
        activation: Of the hidden layers of the default head.
        l2: Factor of the L2 penalty on the kernels of the default head.
        dimensions: Width of embeddings; null is that of the backbone's features.
        search: Before training, choose the default head and how it trains by
            cross-validation on what the frozen backbone gives, and replace
            `head.hidden_units`, `head.dropout`, `training.weight_decay`,
            `training.label_smoothing` and the learning rate of every phase
            that trains the head alone.
        weights_file: The `model.keras` of a run with the same head and the same labels, whose
            head it starts from; null starts with a new one.
        options: Keyword arguments for any head but the default one.
    """

    name: str = "default"
    hidden_units: tuple[Annotated[int, Field(ge=1), _NOT_BOOL], ...] = ()
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), _NOT_BOOL] = 0.1
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu"
    l2: Annotated[float, Field(ge=0.0), _NOT_BOOL] = 0.0
    dimensions: Annotated[int, Field(ge=2, le=65_536), _NOT_BOOL] | None = None
    search: bool = False
    weights_file: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Last(Section):
    """Trains the head and the last N layer groups of the backbone."""

    last: Annotated[int, Field(ge=1), _NOT_BOOL]


class From(Section):
    """Trains the named layer group and everything after it."""

    from_: str = Field(alias="from")


class ShareOfWeights(Section):
    """Trains the head and the last groups that hold at most this share of the weights."""

    fraction: Annotated[float, Field(gt=0.0, le=1.0), _NOT_BOOL]


Selection = Literal["head", "all", "lora"] | Last | From | ShareOfWeights | Patterns


class PhaseSection(Section):
    """One phase of training: what trains, for how long, how fast.

    Attributes:
        train: `head`, `all`, `{last: N}` groups, `{from: GROUP}`,
            `{fraction: F}` of the weights, or a list of patterns matched
            against group names and weight paths (`*` and `?`), such as
            `["*/bias"]` (BitFit, Ben Zaken et al. 2022, arXiv:2106.10199).
            `lora` trains the head and low-rank updates of a transformer's
            queries and values (LoRA, Hu et al. 2021, arXiv:2106.09685), which
            are added to the weights in the end.
        rank: Of LoRA's updates; the same in all phases that train them.
        epochs: Passes over the training data.
        learning_rate: Peak learning rate.
        group_decay: Each group further from the head learns at this factor of
            the rate of the one after it (discriminative fine-tuning, Howard
            and Ruder 2018, arXiv:1801.06146); 1 is off.
        curve: Shape of the learning rate after the warm-up, down to 0 for
            "linear" and "cosine". "one_cycle" rises by half a cosine from 1/25 of the
            peak and falls by another to 1/100,000 of it (Smith and Topin 2018,
            arXiv:1708.07120; for rates far above the usual ones). "plateau" is constant,
            and falls by `plateau_factor` where the monitored value has not got better for
            `plateau_patience` epochs; it needs validation rows.
        warmup_fraction: Share of the phase's steps with a linearly rising rate; of
            "one_cycle" those of its rise, where 0 and null stand for 0.25. Null is
            otherwise 0, but in a phase after one that was solved exactly its first
            epoch (of a single one the first half), since a sudden full rate would
            throw the solved head off.
        plateau_factor: What is left of the rate each time it falls.
        plateau_patience: Epochs of the phase without a better value before it does.
        solver: "gradient" trains step by step. "exact" computes the best linear
            head on the frozen features of inputs as they are, without `augment`, at once
            (L-BFGS for classes, the closed form for numbers), with an L2 penalty chosen
            on the validation rows and, where they are fewer than 500, by five folds of the
            training rows too; it needs `train: head` and a head of one linear layer, and
            does not use the phase's other fields.
        objective: "task" trains what the task asks. "contrastive" trains the
            backbone alone, so that its features of rows with equal classes come
            near (supervised contrastive loss, Khosla et al. 2020,
            arXiv:2004.11362); a later phase makes the head on them. For
            classifications with few examples, as SetFit (Tunstall et al. 2022,
            arXiv:2209.11055).
        batch_norm: "frozen" keeps every BatchNorm layer as pretrained, as the
            Keras transfer-learning guide asks; "train" lets those in trained
            groups learn and update their statistics.
    """

    train: Selection = "head"
    rank: Annotated[int, Field(ge=1, le=256), _NOT_BOOL] = 8
    epochs: Annotated[int, Field(ge=1), _NOT_BOOL] = 1
    learning_rate: Annotated[float, Field(gt=0.0, le=HIGHEST_RATE), _NOT_BOOL] = 1e-3
    group_decay: Annotated[float, Field(gt=0.0, le=1.0), _NOT_BOOL] = 1.0
    curve: Literal["constant", "cosine", "linear", "one_cycle", "plateau"] = "cosine"
    warmup_fraction: Fraction | None = None
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0), _NOT_BOOL] = 0.5
    plateau_patience: Annotated[int, Field(ge=1), _NOT_BOOL] = 2
    solver: Literal["gradient", "exact"] = "gradient"
    objective: Literal["task", "contrastive"] = "task"
    batch_norm: Literal["frozen", "train"] = "frozen"

    @property
    def warmup_share(self) -> float:
        """Share of the steps in which the rate rises."""
        return self.warmup_fraction or (0.25 if self.curve == "one_cycle" else 0.0)


Phases = Annotated[tuple[PhaseSection, ...], Field(min_length=1)]


class EarlyStoppingSection(Section):
    """Ends a phase when the monitored value stops getting better.

    Attributes:
        patience: Epochs without a better value before the phase ends.
        min_delta: Smallest change that counts as better.
    """

    patience: Annotated[int, Field(ge=1), _NOT_BOOL] = 3
    min_delta: Annotated[float, Field(ge=0.0), _NOT_BOOL] = 0.0


class EverySteps(Section):
    """A checkpoint after each so many steps, and at each epoch's end."""

    steps: Annotated[int, Field(ge=1), _NOT_BOOL]


class LastEpochs(Section):
    """The mean of the weights of the last N epochs of the last phase."""

    last: Annotated[int, Field(ge=2, le=50), _NOT_BOOL]

    @property
    def number(self) -> int:
        """How many epochs."""
        return self.last


class BestEpochs(Section):
    """The mean of the weights of the N epochs of the last phase that are best by the monitor."""

    best: Annotated[int, Field(ge=2, le=50), _NOT_BOOL]

    @property
    def number(self) -> int:
        """How many epochs."""
        return self.best


def _off(value: Any) -> Any:
    """YAML takes `off` for false."""
    return "off" if value is False else value


def _one_way(value: Any) -> Any:
    if isinstance(value, dict) and {"last", "best"} <= value.keys():
        raise ValueError("epochs are averaged in one way alone")
    return value


class TrainingSection(Section):
    """How every phase trains.

    Attributes:
        batch_size: Examples a step, over all devices together.
        gradient_accumulation_steps: Batches whose gradients make one update of the weights,
            as one batch of so many times `batch_size` rows would, in the memory of one.
            Learning rates and `checkpoint` count updates.
        tokens_per_batch: For texts, tokens of a training step at most, padding
            included, in place of `batch_size`: many short texts or few long
            ones. On one device only; null is off.
        optimizer: Update rule.
        momentum: Of SGD (Nesterov) and RMSprop; the Adam family has its own betas.
        weight_decay: Decoupled weight decay (AdamW; Loshchilov and Hutter
            2019, arXiv:1711.05101); biases and normalisation scales are left out.
        gradient_clip_norm: Longest global gradient norm; null is off.
        label_smoothing: Share of each target spread over all classes; of
            several labels, by which each is drawn towards one half. A recipe may say "auto":
            0.1 where a task of tltool's own has it, else 0.
        focal_gamma: Exponent of the focal loss, by which rows that are learnt
            already count less (Lin et al. 2017, arXiv:1708.02002: 2); 0 is off.
        dice: Share of the Dice loss in the loss of masks, 0..1; the rest is the
            cross-entropy of each pixel (or the focal loss).
        ranking: Of numbers, weight of a loss beside the squared error by which, of
            two rows in a batch, the one with the larger number is to get the
            larger prediction (CoSENT, Su 2022); 0 is off.
        sampling: Which rows an epoch has, of tasks with one class for each row: "natural"
            each once; "balanced" as many of each class, "sqrt" of each by the root of its
            rows, as many in all: rows of rare classes come several times, some of frequent ones
            in other epochs.
        class_weights: "balanced" (inverse class frequency; of several labels,
            rows with each and without weigh the same), a mapping from class
            name to weight, or null. "auto" is "balanced" for classes and null
            for all else.
        ema_momentum: Measure and keep, in place of the weights, an exponential moving average of
            them, of which this share stays at each step (fewer at first: at most
            `(1 + steps) / (10 + steps)`), such as 0.99; null is off.
        average_epochs: In the end, take the mean of the weights of the last N epochs of the last
            phase (`{last: N}`) or of its N best (`{best: N}`), if it is no worse on the
            validation rows than the best epoch, or there are none; null is off.
        refit: After the validation rows have chosen the number of epochs, train once more from
            the same start on training and validation rows together for so many epochs, with
            the learning rate that those epochs had, and keep that model (docs/training.md).
        early_stopping: When to end a phase early; null is off. The weights of
            the best epoch are kept in any case.
        calibrate: Divide the logits by the temperature at which confidences fit rows that the
            model has not learnt from (docs/unknown.md). "auto" does so for classes and several
            labels where there are at least 40 such rows and the loss of held-out ones falls;
            true wherever it can be fitted, false never.
        monitor: The value that decides which epoch is best; of epochs with equal
            metrics the one with the lower loss. "auto" is the loss, but the correlation where
            an order is trained (`ranking`, or embeddings of pairs with numbers): that loss may
            rise while the order gets better. "metric" is the task's main metric, or that
            correlation.
        keep: Which model the run keeps. "best" takes the best epoch, but the linear
            model on the frozen features (see `evaluation.baseline`) where the
            fine-tuned network is no better than it on the validation rows; with
            fewer than 40 of these only where it is surely worse. "trained" takes
            the best epoch in any case, "last" the last one; without validation
            rows all of them take that.
        jit: Compile steps with XLA: "auto" does so on one GPU, and not on CPUs,
            where it was measured not to pay (benchmarks/jit.py), nor on several
            devices; a TPU always does.
        static_shapes: Train on batches of few shapes, of which each is compiled
            once: texts are padded to powers of two, and incomplete batches
            completed with rows that count nothing. "auto" does so on TPUs.
        steps_per_execution: Steps in one call of the compiled function; "auto"
            takes 16 where a step is a head on stored vectors, whose calls cost
            more than its arithmetic, else 1.
        precision: Keras dtype policy.
        distribution: Strategy; "auto" mirrors over several GPUs, else uses one device;
            "multi_worker" trains together with other processes (docs/scaling.md).
        devices: Device names such as `gpu:0`; null takes all of the best kind.
        barrier_seconds: With several workers, how long one waits for another: at
            the start, and wherever they meet, also while the chief computes
            features, measures and exports.
        seed: Of initial weights, shuffling, dropout and augmentation.
        deterministic: Ask TensorFlow for bit-equal results of equal runs.
        checkpoint: How often what `--resume` goes on from is kept: "epoch" at the
            end of each, `{steps: N}` after N steps too, "off" never (docs/resume.md).
        grace_seconds: Time from SIGTERM until the system kills, within which a last
            checkpoint is written.
        loggers: Where a finished run is written too: "tensorboard" (in the run's folder),
            "mlflow", "wandb" (docs/loggers.md); an empty list is none.
    """

    batch_size: Annotated[int, Field(ge=1), _NOT_BOOL] = 32
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1000), _NOT_BOOL] = 1
    tokens_per_batch: Annotated[int, Field(ge=8), _NOT_BOOL] | None = None
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    momentum: Annotated[float, Field(ge=0.0, lt=1.0), _NOT_BOOL] = 0.9
    weight_decay: Annotated[float, Field(ge=0.0), _NOT_BOOL] = 0.01
    gradient_clip_norm: Annotated[float, Field(gt=0.0), _NOT_BOOL] | None = 1.0
    label_smoothing: Fraction = 0.0
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0), _NOT_BOOL] = 0.0
    dice: Annotated[float, Field(ge=0.0, le=1.0), _NOT_BOOL] = 0.0
    ranking: Annotated[float, Field(ge=0.0, le=100.0), _NOT_BOOL] = 0.0
    class_weights: (
        Literal["auto", "balanced"] | dict[Label, Annotated[float, Field(gt=0), _NOT_BOOL]] | None
    ) = None
    ema_momentum: Annotated[float, Field(gt=0.0, lt=1.0), _NOT_BOOL] | None = None
    average_epochs: Annotated[LastEpochs | BestEpochs | None, BeforeValidator(_one_way)] = None
    refit: bool = False
    sampling: Literal["natural", "balanced", "sqrt"] = "natural"
    early_stopping: EarlyStoppingSection | None = None
    calibrate: Literal["auto"] | bool = "auto"
    monitor: Literal["auto", "loss", "metric"] = "auto"
    keep: Literal["best", "last", "trained"] = "best"
    jit: Literal["auto", "always", "never"] = "auto"
    static_shapes: Literal["auto", "always", "never"] = "auto"
    steps_per_execution: Literal["auto"] | Annotated[int, Field(ge=1, le=10_000), _NOT_BOOL] = (
        "auto"
    )
    precision: Precision = "float32"
    distribution: Literal["auto", "none", "mirrored", "multi_worker", "tpu"] = "auto"
    devices: tuple[str, ...] | None = None
    barrier_seconds: Annotated[float, Field(gt=0.0, le=1e6), _NOT_BOOL] = 3600.0
    seed: Annotated[int, Field(ge=0, lt=SEEDS), _NOT_BOOL] = 0
    deterministic: bool = True
    checkpoint: Annotated[Literal["epoch", "off"] | EverySteps, BeforeValidator(_off)] = "epoch"
    grace_seconds: Annotated[float, Field(ge=0.0), _NOT_BOOL] = 30.0
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)

    @property
    def rows_per_update(self) -> int:
        """Rows that one update of the weights is of, over all devices together."""
        return self.batch_size * self.gradient_accumulation_steps


class AugmentSection(Section):
    """Random changes to training images; validation, test and export never see them.

    Attributes:
        horizontal_flip, vertical_flip: Mirror with probability one half.
        rotation_degrees: Rotate by up to this angle either way.
        zoom: Scale by a factor in [1 - zoom, 1 + zoom].
        translation: Shift by up to this share of the height and width.
        brightness: Add up to this share of the value range, either way.
        contrast: Scale the distance from the mean by a factor in
            [1 - contrast, 1 + contrast].
        views: Change each image in this many ways, the same ones in every
            epoch, and show one of them at random; what frozen layers make of
            them is computed once. Null changes it anew in every epoch.
        layers: Layers of Keras or keras-cv that change the image further, in
            this order, such as `{layer: RandAugment, num_ops: 2}`; MixUp and
            CutMix, which mix the images of a batch, come last.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0), _NOT_BOOL] = 0.0
    zoom: Fraction = 0.0
    translation: Fraction = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    views: Annotated[int, Field(ge=1, le=1000), _NOT_BOOL] | None = None
    layers: tuple[AugmentLayer, ...] = ()


class CacheSection(Section):
    """The store of what frozen layers give, computed once for each example.

    It lives in the folder `features` of tltool's cache and is shared by phases
    and by runs; `tltool cache list` shows it. It changes no result.

    Attributes:
        use: "auto" decides in each phase from the size, the epochs and the
            measured speed; "always" stores wherever a phase has frozen layers
            below the first trained one; "never" computes them in every epoch.
        dtype: Of stored features; "float16" halves the size and rounds them
            to three digits.
        max_gb: Most gigabytes (10^9 bytes) of all entries together; the
            longest unused are removed first.
    """

    use: Literal["auto", "always", "never"] = "auto"
    dtype: Literal["float32", "float16"] = "float32"
    max_gb: Annotated[float, Field(gt=0.0), _NOT_BOOL] = 20.0


_Threshold = Annotated[float, Field(gt=0.0, lt=1.0), _NOT_BOOL]


class EvaluationSection(Section):
    """What is measured after training.

    Attributes:
        baseline: Also fit and score simple models on the same rows, to see what
            fine-tuning is worth: a linear model on the frozen pretrained features,
            TF-IDF with a linear model for texts, and one answer for all rows.
            Without it, `training.keep: best` has nothing to choose from.
        mistakes: How many of the most confident mistakes are listed.
        thresholds: Probability from which on a label is given, where a row
            can have several: "auto" chooses the one of each label with the
            highest F1 on the validation rows; a number holds for all labels, a
            mapping for those it names (0.5 for the others).
        sets: Also give for each input the classes among which the right one is at this rate, chosen
            on the validation rows (split conformal prediction, docs/unknown.md); null gives none.
        report: Also write `report/index.html`: the run as one page that opens without a network
            (docs/report.md).
        explain: Show on it what the answers to the worst mistakes rest on, where an answer is a
            class, one of several labels or a number: maps over pictures, weights of words
            (docs/explain.md). At most 12 rows, and about 400 forward passes of the network.
    """

    baseline: bool = True
    mistakes: Annotated[int, Field(ge=0), _NOT_BOOL] = 10
    thresholds: Literal["auto"] | _Threshold | dict[Label, _Threshold] = "auto"
    sets: _Threshold | None = None
    report: bool = True
    explain: bool = True


class TeacherSection(Section):
    """A trained run whose outputs the model learns beside the labels (docs/distillation.md).

    Knowledge distillation: Hinton et al. 2015, arXiv:1503.02531.

    Attributes:
        run: Folder of a run of the same task and the same classes, or `runs/NAME` for the newest
            one that has a model.
        weight: Share of what the teacher says in the loss of a labelled row; the rest is that of
            its label.
        temperature: Divides the logits of both before they are compared, so that small
            probabilities count more; null is 2, and of numbers there is none.
        unlabelled: More inputs for training without labels: a folder, a table, a list or a
            pattern, as `tltool predict` takes them. What the teacher says stands for their labels.
    """

    run: str
    weight: Annotated[float, Field(gt=0.0, le=1.0), _NOT_BOOL] = 0.7
    temperature: Annotated[float, Field(gt=0.0, le=100.0), _NOT_BOOL] | None = None
    unlabelled: str | None = None


def _different(views: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(views)) < len(views):
        raise ValueError("a view is there twice")
    return views


class EnsembleSection(Section):
    """Of what the run's answers are the mean (docs/ensembles.md).

    Attributes:
        seeds: Train so many models that differ in the seed alone, member i with
            `training.seed` + i - 1, and answer with the mean of their probabilities, or
            of their numbers. It takes so many times the time to train and, but for the
            layers that are the same in all, to answer.
        test_time_augmentation: Answer with the mean over a picture as it is and each of
            these views of it. It takes the time of one picture more for each.
    """

    seeds: Annotated[int, Field(ge=1, le=100), _NOT_BOOL] = 1
    test_time_augmentation: Annotated[tuple[View, ...], AfterValidator(_different)] = ()

    @property
    def is_one(self) -> bool:
        """Whether the answers are those of one model on the input as it is."""
        return self.seeds == 1 and not self.test_time_augmentation


class UnknownSection(Section):
    """How a model says that an input is like none it has learnt from (docs/unknown.md).

    Every export then has the outputs `unknown_score`, higher for what is less known, and
    `accepted`, 1 or 0.

    Attributes:
        method: Of the score: "knn" is the distance to the nearest training features (Sun et al.
            2022), "mahalanobis" that to the nearest mean of a class (Lee et al. 2018),
            "max_probability" 1 minus the confidence, "energy" minus the log-sum-exp of the logits
            (Liu et al. 2020).
        coverage: Share of inputs like the training rows that is to be accepted: the threshold is
            chosen for it on rows that the model has not learnt from.
    """

    method: Method
    coverage: Annotated[float, Field(gt=0.0, lt=1.0), _NOT_BOOL] = 0.95


class TuneSection(Section):
    """Which values of a field `tltool tune` tries: those between two, or some.

    Attributes:
        low, high: The smallest and the largest value of a number, both included.
        log: Draw by the logarithm, as fits rates, which span magnitudes.
        choices: Values to choose among, in place of `low` and `high`.
    """

    low: Annotated[float, _NOT_BOOL] | None = None
    high: Annotated[float, _NOT_BOOL] | None = None
    log: bool = False
    choices: Annotated[tuple[Any, ...], Field(min_length=2)] | None = None


def _known_task(name: str) -> str:
    if name not in TASKS:
        raise ValueError("unknown task")
    return name


def _name_is_a_folder_name(name: str) -> str:
    if not name or name in {".", ".."} or any(c in name for c in '/\\:*?"<>|'):
        raise ValueError("must be usable as a folder name")
    return name


class RecipeFields(Section):
    """The fields of a recipe; see `Recipe` for how to read one.

    Attributes:
        target: A kind of target of your own in place of the task's: a
            registered one, or `package.module:Name`.
    """

    task: Annotated[str, AfterValidator(_known_task)]
    target: str | None = None
    name: Annotated[str, AfterValidator(_name_is_a_folder_name)] = "run"
    description: str = ""
    data: DataSection = DataSection()
    backbone: BackboneSection
    head: HeadSection = HeadSection()
    schedule: ScheduleName | Phases = "feature_extraction"
    training: TrainingSection = TrainingSection()
    augment: AugmentSection | None = None
    teacher: TeacherSection | None = None
    cache: CacheSection = CacheSection()
    ensemble: EnsembleSection = EnsembleSection()
    evaluation: EvaluationSection = EvaluationSection()
    unknown: UnknownSection | None = None
    export: ExportSection = ExportSection()
    tune: dict[str, TuneSection] = Field(default_factory=dict)
    output_dir: str = "runs"


SHORTHANDS: dict[str, tuple[type[Section], str]] = {
    "backbone": (BackboneSection, "name"),
    "head": (HeadSection, "name"),
    "teacher": (TeacherSection, "run"),
    "unknown": (UnknownSection, "method"),
}
"""Sections of a recipe for which one of their fields alone may stand, and that field."""
