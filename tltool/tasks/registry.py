"""The kinds of targets by name: tltool's own, registered ones, and those of other packages.

A kind of your own is a class that derives from `tltool.Target` or one of its
kinds, and is found by one of

- `@tltool.register_target("my_kind")` and `target: my_kind` in the recipe,
- `target: package.module:Name` in the recipe,
- an entry point of the group `tltool.targets` in an installed package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tltool.support.errors import TargetError, did_you_mean
from tltool.support.imports import import_named, installed, load
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.embeddings.pairs import PairTarget, ScoredPairTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.target import Target

GROUP = "tltool.targets"
KINDS: dict[str, type[Target]] = {
    kind.kind: kind
    for kind in (
        ClassTarget,
        ClassSetTarget,
        NumbersTarget,
        TagsTarget,
        MaskTarget,
        EmbeddingTarget,
        PairTarget,
        ScoredPairTarget,
    )
}
_OWN = tuple(KINDS.values())
AnyKind = TypeVar("AnyKind", bound=type[Target])


def register_target(name: str) -> Callable[[AnyKind], AnyKind]:
    """Makes a decorated class available as `target: name` in recipes.

    Raises:
        TargetError: The name is already taken by another class, or the class is no `Target`,
            or one of tltool's own.
    """

    def register(kind: AnyKind) -> AnyKind:
        if not (isinstance(kind, type) and issubclass(kind, Target)):
            raise TargetError(
                f"{getattr(kind, '__name__', kind)} is no kind of target.",
                hint="Derive it from tltool.Target, or from a kind of tltool's own.",
            )
        if kind in _OWN:
            raise TargetError(
                f"{kind.__name__} is there already, as {kind.kind!r}.",
                hint="Derive a class of your own from it.",
            )
        if KINDS.get(name, kind) is not kind:
            raise TargetError(
                f"There is already a kind of target named {name!r}.",
                hint="Choose another name for it.",
            )
        kind.kind = name
        KINDS[name] = kind
        return kind

    return register


def find_target(name: str) -> type[Target]:
    """The kind of that name: tltool's own, registered, `module:Name`, or an entry point.

    Raises:
        TargetError: It can't be found, or its module can't be imported.
    """
    if name in KINDS:
        return KINDS[name]
    others = installed(GROUP)
    if ":" in name:
        found = import_named(name, "target", TargetError)
    elif name in others:
        found = load(others[name], "target", TargetError)
    else:
        known = sorted({*KINDS, *others})
        raise TargetError(
            f"target: there is no kind {name!r}; the kinds are {', '.join(known)}.",
            hint=did_you_mean(name, known)
            or "Register your own with @tltool.register_target, or write package.module:Name.",
        )
    if not (isinstance(found, type) and issubclass(found, Target)):
        raise TargetError(
            f"target: {name!r} is no kind of target.", hint="Derive it from tltool.Target."
        )
    return found


def name_of(kind: type[Target]) -> str:
    """By what `find_target` finds a kind in a process that has imported nothing."""
    return kind.kind if kind in _OWN else f"{kind.__module__}:{kind.__qualname__}"
