"""A run as an object: a trained model that can be evaluated, used and exported again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tltool.data.examples import Examples
from tltool.data.preprocessing import (
    ImagePreprocessing,
    TextPreprocessing,
    preprocessing_from_json,
)
from tltool.recipe.export_section import ExportFormat, ExportSection, LiteRTPrecision
from tltool.recipe.recipe import DataSection, Recipe
from tltool.recipe.schema import OnError, Quoting
from tltool.runs.folder import RunFolder, runs_of
from tltool.support.errors import COPY_RUN_AGAIN, ExportError, HeadError, RunError
from tltool.support.files import read_json
from tltool.support.items import shape_fits
from tltool.support.progress import Progress
from tltool.support.words import listed
from tltool.tasks.registry import name_of
from tltool.tasks.table import Task
from tltool.tasks.target import Prediction

if TYPE_CHECKING:
    import keras

    from tltool.evaluation.evaluate import Evaluation
    from tltool.evaluation.inference import Forward
    from tltool.export.about import About
    from tltool.export.formats.base import ExportTarget
    from tltool.export.gate.report import GateReport
    from tltool.export.sweep.choice import Sweep
    from tltool.report.summary import RunSummary


class Run:
    """A run folder and the model in it; made by `finetune` and `load_run`.

    Attributes:
        folder: Where its files are.
        recipe: The resolved recipe.
        task: With its target.
        preprocessing: How raw input becomes model input.
        summary: What `finetune` found; None for a run that was loaded.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        task: Task,
        preprocessing: ImagePreprocessing | TextPreprocessing,
        model: keras.Model | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.task = task
        self.preprocessing = preprocessing
        self.summary: RunSummary | None = None
        self._progress = progress or Progress()
        if model is not None:
            self.__dict__["model"] = model

    def __repr__(self) -> str:
        return f"<tltool.Run {str(self.path)!r} {self.task.spec.name} {self.status}>"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def status(self) -> str:
        """How the run ended, or that it is running; see `tltool.runs.folder.Status`."""
        return str(self.folder.manifest()["status"])

    @property
    def metrics(self) -> dict[str, Any]:
        """The saved metrics by split; empty if the run was not evaluated."""
        file = self.folder.metrics
        if not file.is_file():
            return {}
        try:
            return dict(read_json(file))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"{file} is damaged: {error}", hint="measure the run again: tltool evaluate"
            ) from error

    @cached_property
    def model(self) -> keras.Model:
        """The trained Keras model, from preprocessed inputs to raw outputs (batch, outputs).

        Raises:
            RunError: The run has no model, or its file is damaged.
            TltoolError: Keras has other settings than tltool needs.
        """
        file = self.folder.model
        self.folder.check(file)
        if not file.is_file():
            model = self.best_model()
            self._progress.note(
                f"{self.path} ({self.status}) has no {file.name}: its model is built from "
                f"{_epoch_kept(self.folder)}"
            )
            return model
        import tltool.backbones.networks.registered
        import tltool.training.optimizers  # noqa: F401 - both register what the file may name
        from tltool.graph.keras_file import load_keras_file

        lacking = _import_head(self.recipe.head.name)
        try:
            model = load_keras_file(
                file,
                RunError,
                hint="a layer class of a head's own module must be decorated with "
                "keras.saving.register_keras_serializable; else train again",
            )
        except RunError as error:
            if lacking is None:
                raise
            raise RunError(f"{error.message}\n  {lacking.message}", hint=lacking.hint) from error
        outputs = (None, *self.task.target.output_shape)
        if not shape_fits(model.output_shape, outputs):
            raise RunError(
                f"{file} gives outputs of shape {model.output_shape}, but by "
                f"{self.folder.labels.name} they are {outputs}.",
                hint=COPY_RUN_AGAIN,
            )
        if not _fits(model, self.preprocessing):
            named = listed([f"{tensor.name} {tensor.shape}" for tensor in model.inputs])
            raise RunError(
                f"{file} takes {named}, and {self.folder.preprocessing.name} gives others.",
                hint=COPY_RUN_AGAIN,
            )
        return model

    def best_model(self) -> keras.Model:
        """The model of the best epoch, built anew from the weights that are kept while it trains.

        Of an ensemble, the one of the members that came to their end.

        Raises:
            RunError: There are none, or they are damaged.
        """
        from tltool.training.ensemble import rebuilt

        file = self.folder.checkpoint
        if not file.is_file():
            raise RunError(
                f"The run {str(self.path)!r} has no model (it is {self.status}).",
                hint="It has not come to the end of its first epoch; train again.",
            )
        # Of a model that can say "unknown" that part is made after training.
        task = replace(self.task, target=self.task.target.plain)
        return rebuilt(self.recipe, task, self.preprocessing, self.folder.kept_weights())

    def without_score(self) -> Run:
        """The run with logits and classes alone, where its model can say "unknown" too."""
        from tltool.model.unknown import apart

        target = self.task.target.plain
        if target is self.task.target:
            return self
        model = apart(self.model)
        logits = type(model)(model.input, model.outputs[0], name=model.name)
        task = Task(self.task.spec.with_target(name_of(type(target))), target)
        return Run(self.folder, self.recipe, task, self.preprocessing, logits)

    def resume(
        self,
        *overrides: str,
        data: Any = None,
        anyway: bool = False,
        progress: Progress | None = None,
    ) -> Run:
        """Goes on with a run that stopped, from its last checkpoint to its end.

        Args:
            overrides, data, anyway, progress: As for `tltool.resume`.

        Returns:
            The run when it is done; this object stays as it is.

        Raises:
            TltoolError: As `tltool.resume` does.
        """
        # The one call upwards: the job that makes runs is the one that goes on with them.
        job = import_module("tltool.finetuning.job")
        going_on: Run = job.resume(
            self.path, *overrides, data=data, anyway=anyway, progress=progress
        )
        return going_on

    def examples(self, split: Literal["train", "validation", "test"] = "test") -> Examples:
        """The rows of one split of the recipe's data, read again.

        Raises:
            RunError: The data came from Python objects, so it can't be read again.
        """
        if self.recipe.data.train is None:
            raise RunError(
                f"The run {str(self.path)!r} was trained on data given from Python, which "
                "can't be read again.",
                hint="Pass data=… (or --data on the command line).",
            )
        from tltool.training.preparation import load_data

        return load_data(self.recipe)[0].split(split)

    def rows(
        self,
        data: Any = None,
        *,
        input_columns: Sequence[str] = (),
        label_columns: Sequence[str] = (),
        delimiter: str | None = None,
        encoding: str | None = None,
        quoting: Quoting | None = None,
        on_error: OnError | None = None,
    ) -> Examples:
        """The rows of labelled data that is given as for `evaluate`.

        Args:
            data: As for `evaluate`.
            input_columns, label_columns, delimiter, encoding, quoting, on_error: How a
                folder or a table is read, as in the recipe's `data` section, which says
                so itself where they are not given.
        """
        if data is None:
            return self.examples()
        from tltool.data.reading.sources import reading

        section = reading(
            self.recipe.data.model_copy(update=self.task.target.data_fields),
            input_columns=input_columns,
            label_columns=label_columns,
            delimiter=delimiter,
            encoding=encoding,
            quoting=quoting,
            on_error=on_error,
        )
        return labelled_rows(data, section, self.task)

    def evaluate(self, data: Any = None) -> Evaluation:
        """Measures the model on labelled data.

        Args:
            data: Labelled data as for `finetune`; or the path of a folder or a
                table, read as the run's own was; or what `rows` gives; None takes
                the test split of the run's own data.

        Raises:
            DataError: The data can't be used, or has labels the model doesn't know.
        """
        from tltool.evaluation.evaluate import evaluate_outputs

        examples = self.rows(data)
        return evaluate_outputs(
            self.outputs(examples),
            examples,
            self.task,
            mistakes=self.recipe.evaluation.mistakes,
        )

    def outputs(self, examples: Examples) -> Any:
        """What the model says of examples, as `Target.kept` gives it."""
        from tltool.evaluation.inference import kept_outputs

        return kept_outputs(self._forward, examples, self.task)

    def raw_outputs(self, examples: Examples) -> Any:
        """What the model itself says of examples, such as logits; see `Forward`."""
        return self._forward(examples)

    @cached_property
    def _forward(self) -> Forward:
        from tltool.evaluation.inference import Forward

        return Forward(self.model, self.preprocessing)

    def predict(self, inputs: Sequence[Any]) -> list[Prediction]:
        """Predicts raw inputs.

        Args:
            inputs: Texts; pairs of them; or images as file paths or uint8 arrays of
                shape (height, width[, channels]).

        Raises:
            DataError: They are one input alone, or some of them cannot be used.
        """
        from tltool.data.reading.in_memory import inputs_from_python

        inputs = inputs_from_python(inputs, self.task.spec.modality)
        unknown = [None] * len(inputs)
        origins = [f"item {i}" for i in range(len(inputs))]
        examples = Examples(self.task.spec.modality, inputs, unknown, unknown, origins)
        if not inputs:
            return []
        import numpy as np

        found: list[Any] = [None] * len(inputs)
        for rows, raw in self._forward.batches(examples):
            outputs = np.asarray(self.task.outputs(raw))
            given = self.task.target.predictions(outputs, [inputs[row] for row in rows])
            for row, prediction in zip(rows, given, strict=True):
                found[row] = prediction
        return found

    def export(
        self,
        form: ExportFormat,
        *,
        precision: LiteRTPrecision = "float32",
        data: Any = None,
        keep_failed: bool = False,
    ) -> Path:
        """Exports the model, checks it against itself on held-out rows, and returns its path.

        Args:
            form: "saved_model" (a folder), "litert" (a .tflite file), "onnx" or "keras".
            precision: Of the weights; "float32" for all but "litert".
            data: Labelled data to check on; None takes the run's test split.
            keep_failed: Keep an artifact that the gate refuses.

        Raises:
            GateError: The artifact differs from the model by more than the
                recipe's `export.gate` allows.
        """
        from tltool.export.formats.table import FORMATS, export_targets

        if form in FORMATS and precision not in FORMATS[form].precisions:
            raise ExportError(
                f"A {FORMATS[form].title} file is exported in float32, not {precision}.",
                hint="Use the format litert for smaller weights.",
            )
        section = ExportSection(
            **{**dict(self.recipe.export), "formats": (form,), "precisions": (precision,)}
        )
        self.export_all(section, data=data, keep_failed=keep_failed)
        (target,) = export_targets(section)
        return self.folder.exports / target.folder / target.file

    def export_all(
        self,
        section: ExportSection,
        *,
        data: Any = None,
        calibration: Examples | None = None,
        keep_failed: bool = False,
    ) -> tuple[GateReport, ...]:
        """Exports every artifact of an export section; see `export`.

        Args:
            section: Formats, precisions and tolerances.
            data: Labelled data to check on; None takes the run's test split.
            calibration: Training rows for the precision "int8"; None takes the
                run's training split.
            keep_failed: Keep an artifact that the gate refuses.
        """
        from tltool.export.package import require_passed

        outcomes = self.export_outcomes(
            section, data=data, calibration=calibration, keep_failed=keep_failed
        )
        return require_passed(outcomes, self.folder.exports if keep_failed else None)

    def export_outcomes(
        self,
        section: ExportSection,
        *,
        data: Any = None,
        calibration: Examples | None = None,
        keep_failed: bool = False,
    ) -> dict[ExportTarget, GateReport | ExportError]:
        """As `export_all`; gives what the gate found of each artifact, or why there is none."""
        from tltool.export.package import export_outcomes

        examples = self.rows(data)
        if calibration is None and "int8" in section.precisions:
            calibration = self.examples("train")
        try:
            return export_outcomes(
                self.model,
                self.task,
                self.preprocessing,
                examples,
                self.folder.exports,
                section=section,
                about=self.about(),
                keep_failed=keep_failed,
                calibration=calibration,
                forward=self._forward,
            )
        finally:
            self.folder.record(self.folder.status)

    def quantize(
        self,
        *,
        max_drop: float = 0.01,
        max_latency_ms: float | None = None,
        threads: int = 1,
        data: Any = None,
        litert_runtime: str | None = None,
    ) -> Sweep:
        """Makes every LiteRT precision and picks the smallest within the limits.

        Exports that pass, `quantize.json` and `quantize.png` are written into
        the run's folder.

        Args:
            max_drop: Most the accuracy may fall, or the mean absolute error
                rise in standard deviations of the training targets.
            max_latency_ms: Longest median time for one example; None is any.
            threads: For the interpreters while they are timed.
            data: Labelled data to check on; None takes the run's test split.
            litert_runtime: Oldest TensorFlow Lite that the files must run in; None takes the
                recipe's.
        """
        from tltool.export.sweep.sweep import Limits, sweep_precisions

        recipe = self.recipe
        if litert_runtime is not None:
            recipe = recipe.with_overrides(f"export.litert_runtime={litert_runtime}")
        try:
            return sweep_precisions(
                self.model,
                self.task,
                self.preprocessing,
                self.rows(data),
                self.path,
                section=recipe.export,
                limits=Limits(max_drop, max_latency_ms, threads),
                calibration=self.examples("train"),
                about=self.about(),
                forward=self._forward,
            )
        finally:
            self.folder.record(self.folder.status)

    def about(self) -> About:
        """What its model is called, and what it was made from."""
        from tltool.export.about import about_run

        manifest = self.folder.manifest()
        best = manifest.get("best")
        # A run that was killed has not come to say what it keeps.
        if best is None and "kept" not in manifest and self.folder.checkpoint.is_file():
            from tltool.training.best_weights import best_row

            best = best_row(self.folder.checkpoint)
        linear = bool(manifest.get("kept", {}).get("linear"))
        return about_run(self.recipe, self.path.name, best, linear=linear)


def labelled_rows(data: Any, section: DataSection, task: Task) -> Examples:
    """Labelled rows of a folder, a table or Python objects; see `load_labelled`."""
    from tltool.data.checks.doctor import check_examples
    from tltool.data.reading.in_memory import labelled_from_python
    from tltool.data.reading.sources import load_labelled

    if isinstance(data, Examples):
        return data
    spec = task.spec.of_rows(section.input_columns)
    if isinstance(data, str | Path):
        examples = load_labelled(data, section, spec)
    else:
        examples = labelled_from_python(data, spec, section)
    return check_examples(examples, on_error=section.on_error).as_inputs()


def _epoch_kept(folder: RunFolder) -> str:
    """The file of the best weights and the epoch they are of, or how many files there are."""
    from tltool.report.history import epoch_words
    from tltool.training.best_weights import best_row

    if len(files := folder.kept_weights()) > 1:
        return f"the weights of {len(files)} models of an ensemble, which came to their end"
    file = folder.checkpoint
    return f"{file.relative_to(folder.path)}, {epoch_words(best_row(file))}"


def _import_head(name: str) -> HeadError | None:
    """Imports the module of a head of one's own, which registers the layers a model may name.

    Returns:
        Why it can't be found. A model may load all the same, where it has Keras' own layers only.
    """
    from tltool.model.heads import find_head

    try:
        find_head(name)
    except HeadError as error:
        return error
    return None


def _fits(model: keras.Model, contract: ImagePreprocessing | TextPreprocessing) -> bool:
    """Whether a model's inputs are those that a contract prepares."""
    if isinstance(contract, TextPreprocessing):
        named = model.input if isinstance(model.input, dict) else {}
        return named.keys() == set(contract.inputs)
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    return len(shapes) == 1 and all(
        side in {None, given}
        for side, given in zip_longest(shapes[0], (None, *contract.size_px, 3), fillvalue=0)
    )


def load_run(path: str | Path, *, progress: Progress | None = None) -> Run:
    """Opens a run by its folder, or the newest run of `runs/NAME` that has a model.

    Args:
        path: The folder.
        progress: Is told where the model is not the one of a finished training.

    Raises:
        RunError: There is no run, or its files are damaged.
    """
    from tltool.data.labels import load_task

    progress = progress or Progress()
    folder = RunFolder.open(path)
    if folder.path != Path(path) and folder != (newest := runs_of(path)[-1]):
        progress.note(f"{folder.path} is opened: {newest.path} is newer and has no model")
    folder.check(folder.recipe, folder.labels, folder.preprocessing, folder.model)
    try:
        recipe = Recipe.load(folder.recipe)
        preprocessing = preprocessing_from_json(folder.preprocessing.read_bytes())
        task = load_task(folder.labels)
    except (OSError, ValueError) as error:
        raise RunError(
            f"The run {str(folder.path)!r} can't be opened: {error}",
            hint=f"a file of it is missing or damaged; {COPY_RUN_AGAIN}",
        ) from error
    return Run(folder, recipe, task, preprocessing, progress=progress)
