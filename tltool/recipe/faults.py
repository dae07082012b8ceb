"""Turns schema errors into faults a person can act on, and finds faults between fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tltool.recipe.ensemble_faults import ensemble_faults
from tltool.recipe.export_faults import export_faults
from tltool.recipe.layer_faults import mixes, mixing_faults, unknown_layer
from tltool.recipe.schema import HeadSection, RecipeFields, ScheduleName
from tltool.recipe.teacher_faults import teacher_faults
from tltool.recipe.training_faults import training_faults
from tltool.recipe.tune_faults import tune_faults
from tltool.recipe.unknown_faults import unknown_faults
from tltool.support.errors import Fault, TargetError, did_you_mean
from tltool.support.words import half_character, plural
from tltool.tasks.table import INPUT_COLUMNS, TASKS, TaskSpec, unknown_task

# Pydantic names the branch of a union it tried in the error's location; these
# are not part of the path in the file.
_TRAIN_FORMS = "head, all, {last: N}, {from: GROUP}, {fraction: F}, or a list of patterns"


# What pydantic puts into the location of a fault for a branch of a union.
# What a field may be beside the words that it knows.
_FURTHER = {
    "evaluation.thresholds": ["a number between 0 and 1", "a mapping such as {LABEL: 0.3}"],
    "training.calibrate": ["true", "false"],
    "training.class_weights": ["null", "a mapping such as {CLASS: 2.0}"],
    "training.steps_per_execution": ["a whole number from 1 to 10000"],
}
_BRANCHES = {"constrained-str", "literal", "EverySteps", "LastEpochs", "BestEpochs"}

_PROBLEMS = {
    **dict.fromkeys(
        ("greater_than", "greater_than_equal", "less_than", "less_than_equal"), "out of range"
    ),
    "too_short": "too few",
    "too_long": "too many",
    "string_too_short": "too few characters",
    "string_too_long": "too many characters",
}


def faults_from(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Every fault of a failed validation, at most one for each field that is a union."""
    faults: dict[str, Fault] = {}
    for detail in error.errors(include_url=False):
        fault = _fault(detail, model)
        faults.setdefault(fault.path, fault)
    # A union reports every branch it tried; the branch that went deepest was meant.
    return [
        fault
        for path, fault in faults.items()
        if not any(other.startswith(f"{path}.") for other in faults)
    ]


def _fault(detail: ErrorDetails, model: type[BaseModel]) -> Fault:
    location = _file_location(detail)
    path = ".".join(map(str, location))
    received = _shown(detail["input"])
    if location[-1:] == ("train",) and location[:1] == ("schedule",):
        return Fault(path, "not a way to choose what trains", received, _TRAIN_FORMS)
    if location == ("training", "checkpoint"):
        return Fault(path, "not a way to keep checkpoints", received, "epoch, {steps: N}, off")
    if location[:2] == ("training", "average_epochs"):
        path = "training.average_epochs"
        own = detail["type"] == "value_error"
        problem = _problem(detail) if own else "not a way to average epochs"
        return Fault(path, problem, received, "{last: N} or {best: N}, N from 2 to 50")
    if location == ("schedule",):
        names = ", ".join(get_args(ScheduleName))
        return Fault(
            path,
            "not a schedule",
            received,
            f"a list of phases, or {names}",
            did_you_mean(str(detail["input"]), get_args(ScheduleName)),
        )
    match detail["type"]:
        case "extra_forbidden":
            fields = [key for key in _fields_at(detail["loc"], model) if key != "layer"]
            close = did_you_mean(str(location[-1]), fields)
            return Fault(path, "unknown key", received, ", ".join(fields), close)
        case "union_tag_invalid":
            return unknown_layer(f"{path}.layer", str(detail.get("ctx", {})["tag"]))
        case "union_tag_not_found":
            return Fault(f"{path}.layer", "missing", received, "a layer of Keras or keras-cv")
        case "missing":
            return Fault(path, "missing", hint=_missing_hint(path))
        case "value_error" if path == "task":
            problem, close = unknown_task(str(detail["input"]))
            return Fault(path, problem, received, ", ".join(TASKS), close)
        case "literal_error":
            options = [o.strip("' ") for o in _allowed(detail).replace(" or ", ", ").split(",")]
            close = did_you_mean(str(detail["input"]), options)
            allowed = ", ".join(options + _FURTHER.get(path, []))
            return Fault(path, "not an allowed value", received, allowed, close)
    return Fault(path, _problem(detail), received, _allowed(detail) or None)


def _file_location(detail: ErrorDetails) -> tuple[int | str, ...]:
    """The part of pydantic's location that exists in the file."""
    location = detail["loc"]
    if location[:2] == ("augment", "layers"):
        # The layer's name follows the number of the entry.
        return location[:3] + location[4:]
    kept = tuple(
        part
        for place, part in enumerate(location)
        if not _is_branch(part) or _is_own_key(detail, place)
    )
    if kept[:1] != ("schedule",):
        return kept
    if not any(isinstance(part, int) for part in kept):
        return ("schedule",)
    index = next(i for i, part in enumerate(kept) if isinstance(part, int))
    # Below `train` the branches of its union follow: all are one field to the user.
    return ("schedule", *kept[index : index + 2])


def _is_own_key(detail: ErrorDetails, place: int) -> bool:
    """Whether a part of a location is a key of the file, whatever it looks like."""
    unknown = detail["type"] == "extra_forbidden" and place == len(detail["loc"]) - 1
    return unknown or str(detail["loc"][place - 1]).startswith("dict[")


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in _BRANCHES)


def _fields_at(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Names of the fields of the section around pydantic's location."""
    schema = model.model_json_schema(by_alias=True)
    node: dict[str, Any] = schema
    for part in location[:-1]:
        node = _resolved(node, schema)
        if isinstance(part, int):
            node = node.get("items", {})
        elif "discriminator" in node:
            node = {"$ref": node["discriminator"]["mapping"][part]}
        elif not _is_branch(part):
            free = node.get("additionalProperties")
            node = node.get("properties", {}).get(part, free if isinstance(free, dict) else {})
    return list(_resolved(node, schema).get("properties", {}))


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for branch in node.get("anyOf", ()):
        if branch.get("type") == "array" or "$ref" in branch:
            node = branch
    if "$ref" in node:
        return dict(schema["$defs"][node["$ref"].rpartition("/")[2]])
    return node


def _allowed(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if "expected" in context:
        return str(context["expected"])
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than",
             "min_length": "at least", "max_length": "at most"}  # fmt: skip
    limits = [f"{words[key]} {context[key]}" for key in words if key in context]
    if limits:
        return ", ".join(limits)
    kinds = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "a text",
        "model": "a mapping of fields",
        "finite": "a finite number",
        "tuple": "a list",
        "dict": "a mapping",
    }
    kind = detail["type"].split("_")[0]
    return kinds.get(kind, "")


def _problem(detail: ErrorDetails) -> str:
    if (known := _PROBLEMS.get(detail["type"])) is not None:
        return known
    if detail["type"] == "value_error":
        return str(detail.get("ctx", {}).get("error", detail["msg"]))
    return "of the wrong kind"


def _missing_hint(path: str) -> str | None:
    return {
        "task": f"add `task:` with one of {', '.join(TASKS)}",
        "backbone": "add `backbone:` with a name from `tltool models list`",
    }.get(path)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def cross_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults between fields, found even where other fields are faulty.

    Args:
        values: The recipe as read, its shorthands expanded; any shape.
    """
    spec, data = TASKS.get(str(values.get("task"))), _section(values, "data")
    if spec is not None:
        spec = spec.for_columns(data.get("input_columns"), data.get("label_column"))
    if spec is not None and isinstance(values.get("target"), str):
        try:
            spec = spec.with_target(values["target"])
        except TargetError as error:
            yield Fault("target", error.message.removeprefix("target: "), hint=error.hint)
    head = _section(values, "head")
    training = _section(values, "training")
    if spec is not None and spec.modality != "image" and values.get("augment") is not None:
        yield Fault(
            "augment", "changes images, but the task's input is text", hint="leave `augment` out"
        )
    backbone = _section(values, "backbone")
    foreign = {"image": ("max_length",), "text": ("image_size_px", "image_fit", "image_levels")}
    if spec is not None:
        for key in foreign[spec.backbone_modality]:
            if backbone.get(key) is not None:
                yield Fault(
                    f"backbone.{key}", f"is not for {spec.modality}s", _shown(backbone[key])
                )
    if spec is not None:
        yield from _budget_faults(training.get("tokens_per_batch"), backbone, spec.modality)
        yield from export_faults(_section(values, "export"), spec)
    if spec is not None:
        yield from _refused_fields(values, spec)
        yield from _foreign_fields(values, spec)
        yield from _column_faults(data, spec)
    yield from _text_faults(values)
    yield from _split_faults(data)
    yield from mixing_faults(_section(values, "augment"), spec)
    yield from _head_faults(head, spec)
    if spec is not None:
        yield from _kind_faults(values, spec)
    yield from _solver_faults(values)
    yield from _contrastive_faults(values)
    yield from training_faults(values, _phases(values), spec)
    yield from teacher_faults(values, _phases(values), spec)
    yield from ensemble_faults(values, _phases(values), spec)
    yield from unknown_faults(values, spec)
    if head.get("search") is True:
        yield from _search_faults(values)
    yield from tune_faults(values, _all_faults)


def _all_faults(values: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with a recipe's values, its shorthands expanded, but for its section `tune`."""
    own = {**values, "tune": {}}
    found = list(cross_faults(own))
    try:
        RecipeFields.model_validate(own)
    except ValidationError as error:
        found += faults_from(error, RecipeFields)
    return found


def _text_faults(value: Any, path: str = "") -> Iterator[Fault]:
    """Texts that no file can hold, such as a file name that is not in UTF-8."""
    if isinstance(value, str):
        if half := half_character(value):
            yield Fault(path, f"holds {half}", _shown(value), hint="rename the file or folder")
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            yield from _text_faults(inner, f"{path}.{key}".lstrip("."))


def _refused_fields(values: Mapping[str, Any], spec: TaskSpec) -> Iterator[Fault]:
    """Fields that mean nothing for the kind of target, where they are set to something."""
    for path, refusal in spec.target.refused.items():
        section, _, key = path.partition(".")
        given = _section(values, section).get(key)
        if given and given != "auto":
            yield Fault(path, refusal.problem, _shown(given), hint=refusal.hint)


def _foreign_fields(values: Mapping[str, Any], spec: TaskSpec) -> Iterator[Fault]:
    """Fields that only other kinds of target have, where they are set to something."""
    tasks: dict[str, list[str]] = defaultdict(list)
    for other in TASKS.values():
        for path in other.target.options:
            tasks[path].append(other.name)
    for path in sorted(tasks.keys() - spec.target.options):
        section, _, key = path.partition(".")
        if given := _section(values, section).get(key):
            yield Fault(path, f"is for {', '.join(tasks[path])} alone", _shown(given),
                        hint="leave it out")  # fmt: skip


_THREE = "a third column is for text-embedding without data.label_column: texts that are not alike"


def _column_faults(data: Mapping[str, Any], spec: TaskSpec) -> Iterator[Fault]:
    suffix = data.get("image_suffix")
    if isinstance(suffix, str) and "." not in suffix:
        yield Fault("data.image_suffix", "has no point, as the end of a file's name has",
                    _shown(suffix), hint=f"write .{suffix}")  # fmt: skip
    named = data.get("input_columns")
    texts = len(named) if isinstance(named, list | tuple) else 0
    if texts == 3 and (not spec.target.of_texts or data.get("label_column") is not None):
        yield Fault("data.input_columns", _THREE, _shown(named), hint="name two columns")
    usual = INPUT_COLUMNS[spec.of_rows(None).modality]
    wrong, right = ("input_column", "input_columns")[:: 1 if len(usual) > 1 else -1]
    if data.get(wrong) is not None:
        yield Fault(
            f"data.{wrong}",
            f"{spec.name} takes {'two columns' if len(usual) > 1 else 'one column'}",
            _shown(data[wrong]),
            hint=f"use data.{right}",
        )
    yield from _columns_of_two_things(data, spec)
    columns = data.get("label_columns")
    if columns is not None and not spec.target.many_columns:
        yield Fault(
            "data.label_columns",
            f"{spec.name} takes one column",
            _shown(columns),
            hint="use data.label_column, or "
            + " or ".join(
                f"task={other.name} for {plural(other.target.noun)}"
                for other in TASKS.values()
                if other.modality == spec.modality and other.target.many_columns
            ),
        )


def _columns_of_two_things(data: Mapping[str, Any], spec: TaskSpec) -> Iterator[Fault]:
    """A column that is read as two inputs, as input and label, or the like."""
    labels = {"data.label_column": data.get("label_column") or spec.target.label_column}
    if data.get("label_columns"):
        labels = {"data.label_columns": data["label_columns"]}
    inputs = (INPUT_COLUMNS[spec.of_rows(None).modality], "data.input_column")
    for key in ("input_column", "input_columns"):
        inputs = (data[key], f"data.{key}") if data.get(key) else inputs
    known: dict[str, str] = {}
    for path, names in {inputs[1]: inputs[0], **labels,
                        "data.split_column": data.get("split_column")}.items():  # fmt: skip
        for name in names if isinstance(names, list | tuple) else (names,):
            if isinstance(name, str) and name and name in known:
                yield Fault(path, f"the column is named by {known[name]} already", _shown(name),
                            hint="name each column once")  # fmt: skip
            known[str(name)] = path


def _budget_faults(budget: Any, backbone: Mapping[str, Any], modality: str) -> Iterator[Fault]:
    path = "training.tokens_per_batch"
    if budget is not None and modality == "image":
        yield Fault(path, "is not for images", _shown(budget), hint="use training.batch_size")
    longest = backbone.get("max_length")
    numbers = isinstance(budget, int) and isinstance(longest, int)
    if modality != "image" and numbers and budget < longest:
        yield Fault(
            path,
            "holds no text as long as backbone.max_length",
            _shown(budget),
            f"at least {longest}",
        )


def _split_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    shares = [data.get(f"{name}_fraction", 0.1) for name in ("validation", "test")]
    if all(isinstance(s, int | float) and 0 <= s <= 0.5 for s in shares) and sum(shares) > 0.8:
        yield Fault(
            "data.test_fraction",
            "leaves less than a fifth of the data to train on",
            _shown(shares[1]),
            "validation_fraction + test_fraction at most 0.8",
        )


def _head_faults(head: Mapping[str, Any], spec: TaskSpec | None) -> Iterator[Fault]:
    if head.get("name") == "two_towers" and spec is not None and spec.modality != "text_pair":
        yield Fault("head.name", "compares the texts of pairs", _shown(head["name"]),
                    hint="use head=default, or a task such as text-pair-regression")  # fmt: skip
    own = head.get("name", "default") == "default"
    for key in ("hidden_units", "dropout", "activation", "l2"):
        default = HeadSection.model_fields[key].default
        if not own and head.get(key, default) != default and head[key] != []:
            yield Fault(
                f"head.{key}",
                "belongs to the default head",
                _shown(head[key]),
                hint=f"give it to another head as head.options.{key}",
            )
    if head.get("search") is True and head.get("weights_file"):
        yield Fault("head.weights_file", "is of a head, and head.search looks for another one",
                    _shown(head["weights_file"]), hint="leave one of the two out")  # fmt: skip
    if own and head.get("options"):
        yield Fault(
            "head.options",
            "belongs to two_towers or a head of your own; the default head has none",
            _shown(head["options"]),
        )


def _kind_faults(values: Mapping[str, Any], spec: TaskSpec) -> Iterator[Fault]:
    """What heads and phases ask of the kind of target that it can't do."""
    columns = _section(values, "data").get("input_columns")
    size = _section(values, "training").get("batch_size")
    least = 2 * len(columns) if spec.target.of_texts and isinstance(columns, list | tuple) else 0
    if isinstance(size, int) and size < least:
        yield Fault("training.batch_size", "is of texts, and a batch needs those of two rows",
                    _shown(size), f"at least {least}")  # fmt: skip
    dimensions = _section(values, "head").get("dimensions")
    if dimensions is not None and not spec.target.sized:
        yield Fault("head.dimensions", f"is for embeddings, but the task is {spec.name}",
                    _shown(dimensions), hint="leave it out")  # fmt: skip
    schedule = values.get("schedule")
    named = schedule if isinstance(schedule, str) else ""
    for place, phase in _phases(values):
        path = place if named else f"{place}.objective"
        if phase.get("objective") == "contrastive" and not spec.target.contrasts:
            problem = f"{named or 'contrastive'} needs one class for each row; not for {spec.name}"
            yield Fault(path, problem, hint="use a classification, or another schedule")
            if named:
                return
        path = place if named else f"{place}.solver"
        if phase.get("solver") == "exact" and not spec.target.solvable:
            told = (
                f"{named} solves the head exactly, which is not for"
                if named
                else "exact is not for"
            )
            hint = "use another schedule" if named else "train with `solver: gradient`"
            yield Fault(path, f"{told} {spec.name}", hint=hint)


def _solver_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    hidden = _section(values, "head").get("hidden_units")
    training = _section(values, "training")
    for place, phase in _phases(values):
        if phase.get("solver") != "exact":
            continue
        if phase.get("train", "head") != "head":
            yield Fault(
                f"{place}.solver",
                "exact solves the head alone",
                _shown(phase["train"]),
                hint="write `train: head`, or `solver: gradient`",
            )
        for key, what in _NOT_SOLVED.items():
            if training.get(key):
                yield Fault(
                    f"training.{key}",
                    f"{place} solves the head exactly, which knows no {what}",
                    _shown(training[key]),
                    hint=f"leave out `training.{key}`, or train with `solver: gradient`",
                )
        if hidden:
            yield Fault(
                "head.hidden_units",
                f"{place} solves the head exactly, which needs one linear layer",
                _shown(hidden),
                hint="leave out `head.hidden_units`, or train with `solver: gradient`",
            )


def _contrastive_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Phases that draw rows of a class together: they train no head, so another one must."""
    phases = _phases(values)
    for number, (place, phase) in enumerate(phases):
        if phase.get("objective") != "contrastive":
            continue
        if phase.get("solver") == "exact" or phase.get("train", "head") == "head":
            yield Fault(f"{place}.objective", "contrastive trains layers of the backbone",
                        hint="write `train: all`, and `solver: gradient`")  # fmt: skip
        if not any(later.get("objective") != "contrastive" for _, later in phases[number:]):
            yield Fault(f"{place}.objective", "contrastive trains no head, and no phase follows it",
                        hint="end the schedule with {train: head, solver: exact}")  # fmt: skip
        if _section(values, "training").get("tokens_per_batch") is not None:
            yield Fault("training.tokens_per_batch", f"{place} needs rows of a class in each batch",
                        hint="use training.batch_size")  # fmt: skip
        if mixes(_section(values, "augment")):
            yield Fault("augment.layers", f"{place} compares images of one class each",
                        hint="leave out the layers that mix images")  # fmt: skip


def _search_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """What the head search can't do: it trains default heads, alone, with AdamW."""
    name = _section(values, "head").get("name", "default")
    if name != "default":
        yield Fault("head.search", "tunes the default head only; head.name is", _shown(name))
    optimizer = _section(values, "training").get("optimizer", "adamw")
    if optimizer != "adamw":
        yield Fault(
            "head.search", "trains with adamw only; training.optimizer is", _shown(optimizer)
        )
    for key, what in _NOT_SOLVED.items():
        if given := _section(values, "training").get(key):
            yield Fault("head.search", f"knows no {what}; training.{key} is", _shown(given))
    phases = [phase for _, phase in _phases(values) if phase.get("train", "head") == "head"]
    if any(phase.get("solver") == "exact" for phase in phases):
        yield Fault("head.search", "has nothing to tune where the head is solved exactly",
                    hint="leave out `head.search`, or train with `solver: gradient`")  # fmt: skip
    elif isinstance(values.get("schedule"), list | tuple) and not phases:
        yield Fault("head.search", "needs a phase that trains the head alone",
                    hint="begin the schedule with {train: head, epochs: 5}")  # fmt: skip


_NOT_SOLVED = {"focal_gamma": "focal loss", "ranking": "ranking loss"}


def _phases(values: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each phase with its path; of the named strategies those that not every recipe allows."""
    schedule = values.get("schedule")
    if schedule == "linear_probe_then_fine_tune":
        return [("schedule", {"train": "head", "solver": "exact"})]
    if schedule in ("contrastive", "few_examples"):
        contrastive = {"train": "all", "objective": "contrastive"}
        return [("schedule", contrastive), ("schedule", {"train": "head", "solver": "exact"})]
    if not isinstance(schedule, list | tuple):
        return []
    return [
        (f"schedule.{index}", phase)
        for index, phase in enumerate(schedule)
        if isinstance(phase, Mapping)
    ]


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}
