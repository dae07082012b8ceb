"""What is frozen in a phase, and so computed once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny

from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join
from tltool.recipe.schema import HeadSection, PhaseSection
from tltool.tasks.table import TASKS, Task
from tltool.tasks.tags.kind import TagsTarget
from tltool.training.phase import frozen_part


@pytest.mark.parametrize(("train", "frozen"), [("head", True), ("all", False)])
def test_the_constants_of_a_head_freeze_nothing(train, frozen):
    backbone = tiny.tiny_text_backbone()
    contract = backbone.preprocessing.read_by_words()
    task = Task(TASKS["token-classification"], TagsTarget(("O", "B-a", "I-a")))
    transfer = join(replace(backbone, preprocessing=contract), HeadSection(), task)
    (plan,) = plan_phases((PhaseSection(train=train),), transfer.groups, "text")
    apply_plan(transfer.model, plan)
    assert (frozen_part(transfer, transfer.model, plan) is not None) == frozen
