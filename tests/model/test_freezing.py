from __future__ import annotations

import pytest

from tltool.model.freezing import Group, Weight, expand_schedule, plan_phases
from tltool.recipe.schema import From, Last, PhaseSection, ShareOfWeights
from tltool.support.errors import PlanError

GROUPS = (
    Group("stem", (Weight("stem/kernel", 100), Weight("stem/bias", 10))),
    Group(
        "stage1",
        (
            Weight("stage1/kernel", 200),
            Weight("stage1/gamma", 5, "batch_norm"),
            Weight("stage1/moving_mean", 5, "statistic"),
        ),
    ),
    Group("stage2", (Weight("stage2/kernel", 300),)),
    Group("head", (Weight("head/kernel", 20), Weight("head/bias", 2))),
)


def plan(**phase):
    return plan_phases((PhaseSection(**phase),), GROUPS, "image")[0]


@pytest.mark.parametrize(
    ("train", "groups", "prefix"),
    [
        ("head", ["head"], ["stem", "stage1", "stage2"]),
        ("all", ["stem", "stage1", "stage2", "head"], []),
        (Last(last=1), ["stage2", "head"], ["stem", "stage1"]),
        (Last(last=3), ["stem", "stage1", "stage2", "head"], []),
        (From(**{"from": "stage1"}), ["stage1", "stage2", "head"], ["stem"]),
        (ShareOfWeights(fraction=0.49), ["stage2", "head"], ["stem", "stage1"]),
        (ShareOfWeights(fraction=0.1), ["head"], ["stem", "stage1", "stage2"]),
        (ShareOfWeights(fraction=1.0), ["stem", "stage1", "stage2", "head"], []),
        (("stage1",), ["stage1", "head"], ["stem"]),
        (("*/bias",), ["stem", "head"], []),
    ],
)
def test_what_a_selection_trains_and_where_the_frozen_prefix_ends(train, groups, prefix):
    made = plan(train=train)
    assert list(made.rate_factors) == groups
    assert list(made.frozen_prefix) == prefix


def test_patterns_train_only_what_they_match_and_the_head():
    assert plan(train=("*/bias",)).trainable == {"stem/bias", "head/kernel", "head/bias"}


def test_batch_norm_is_frozen_unless_the_phase_trains_it_and_statistics_never_learn():
    assert "stage1/gamma" not in plan(train="all").trainable
    trained = plan(train="all", batch_norm="train").trainable
    assert "stage1/gamma" in trained
    assert "stage1/moving_mean" not in trained


def test_sizes_count_weights_and_leave_statistics_out():
    made = plan(train=Last(last=1))
    assert made.num_trainable == 322
    assert made.num_total == 637


def test_group_decay_slows_each_group_by_its_distance_from_the_head():
    assert plan(train="all", group_decay=0.5).rate_factors == {
        "head": 1.0,
        "stage2": 0.5,
        "stage1": 0.25,
        "stem": 0.125,
    }


def test_a_plan_that_cannot_be_is_refused_with_the_groups():
    with pytest.raises(PlanError, match="stem, stage1, stage2, head"):
        plan(train=Last(last=4))
    with pytest.raises(PlanError, match="no layer group 'stage9'") as error:
        plan(train=From(**{"from": "stage9"}))
    assert "did you mean" in str(error.value.hint)
    with pytest.raises(PlanError, match="matches no layer group and no weight"):
        plan(train=("block*",))
    with pytest.raises(PlanError, match="must be the head"):
        plan_phases("fine_tune", GROUPS[:-1], "image")
    with pytest.raises(PlanError, match="trains nothing"):
        plan_phases((PhaseSection(),), (*GROUPS[:-1], Group("head", ())), "image")


def test_gradual_unfreezes_one_more_group_in_each_phase():
    phases = plan_phases("gradual", GROUPS, "text")
    assert [len(p.rate_factors) for p in phases] == [1, 2, 3, 4]
    assert phases[-1].rate_factors["stage2"] == pytest.approx(1 / 2.6)


def test_a_contrastive_phase_trains_the_backbone_alone():
    contrastive, probe = plan_phases("contrastive", GROUPS, "text")
    assert "contrastive" in contrastive.title
    assert "head" not in contrastive.rate_factors
    assert contrastive.num_trainable > 0
    assert not contrastive.trainable & probe.trainable
    assert (probe.phase.train, probe.phase.solver) == ("head", "exact")


@pytest.mark.parametrize("name", ["feature_extraction", "fine_tune", "linear_probe_then_fine_tune"])
def test_known_strategies_start_with_the_head(name):
    phases = expand_schedule(name, 3, "text")
    assert phases[0].train == "head"
    assert all(phase.train == "all" for phase in phases[1:])
    assert (len(phases) == 1) == (name == "feature_extraction")
