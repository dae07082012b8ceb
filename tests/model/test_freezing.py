from __future__ import annotations

import pytest

from tltool.model.freezing import Group, Weight, adapter_rank, expand_schedule, plan_phases
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


HEAD_ALONE = {"train": "head", "learning_rate": 3e-3}
EVERYTHING = {"train": "all", "epochs": 3, "warmup_fraction": 0.1, "curve": "linear"}


@pytest.mark.parametrize(("modality", "rate"), [("text", 5e-5), ("image", 1e-4)])
def test_known_strategies_are_the_published_ones(modality, rate):
    everything = EVERYTHING | {"learning_rate": rate}
    by_group = everything | {"epochs": 1, "group_decay": 1 / 2.6}
    expected = {
        "feature_extraction": [HEAD_ALONE | {"epochs": 10}],
        "fine_tune": [HEAD_ALONE | {"epochs": 3}, everything],
        "linear_probe_then_fine_tune": [
            {"train": "head", "solver": "exact"},
            everything | {"learning_rate": rate / 2, "warmup_fraction": None},
        ],
        "gradual": [
            HEAD_ALONE,
            by_group | {"train": Last(last=1)},
            by_group | {"train": Last(last=2)},
            by_group,
        ],
    }
    for name, phases in expected.items():
        found = expand_schedule(name, 3, modality)
        assert found == tuple(PhaseSection(**phase) for phase in phases)
        assert plan_phases(name, GROUPS, modality) == plan_phases(found, GROUPS, modality)


@pytest.mark.parametrize(
    ("phases", "warmups"),
    [
        ([{"epochs": 3}, {"train": "all", "epochs": 4}], [0.0, 0.0]),
        ([{"solver": "exact"}, {"train": "all", "epochs": 4}], [0.0, 0.25]),
        ([{"solver": "exact"}, {"train": "all"}], [0.0, 0.5]),
        ([{"solver": "exact"}, {"train": "all", "warmup_fraction": 0.0}], [0.0, 0.0]),
        ([{"solver": "exact"}, {"train": "all", "epochs": 4, "warmup_fraction": 0.1}], [0.0, 0.1]),
        ([{"solver": "exact"}, {"epochs": 5}, {"train": "all", "epochs": 4}], [0.0, 0.2, 0.0]),
    ],
)
def test_a_phase_after_a_solved_head_warms_up_unless_it_says_how(phases, warmups):
    plans = plan_phases([PhaseSection(**phase) for phase in phases], GROUPS, "text")
    assert [plan.phase.warmup_share for plan in plans] == warmups


@pytest.mark.parametrize(
    ("train", "title"),
    [
        ("head", "head"),
        ("all", "all"),
        (Last(last=1), "last group"),
        (Last(last=2), "last 2 groups"),
        (From(**{"from": "stage1"}), "from stage1"),
        (ShareOfWeights(fraction=0.494), "last 49% of the weights"),
        (("stage1", "*/bias"), "stage1, */bias"),
        ("lora", "LoRA of rank 4"),
    ],
)
def test_phases_are_numbered_and_have_titles(train, title):
    first, second = plan_phases(
        (PhaseSection(), PhaseSection(train=train, rank=4)), GROUPS, "image"
    )
    assert (first.number, first.title, second.number, second.title) == (1, "head", 2, title)


def test_adapters_learn_with_the_head_where_a_phase_trains_lora_and_nowhere_else():
    adapters = (Weight("stage2/lora_a", 6, "adapter"), Weight("stage2/lora_b", 6, "adapter"))
    groups = (*GROUPS[:2], Group("stage2", (*GROUPS[2].weights, *adapters)), GROUPS[3])
    everything, lora = plan_phases(
        (PhaseSection(train="all"), PhaseSection(train="lora")), groups, "image"
    )
    assert lora.trainable == {"stage2/lora_a", "stage2/lora_b", "head/kernel", "head/bias"}
    assert lora.frozen_prefix == ("stem", "stage1")
    assert lora.num_trainable == 12 + 22
    assert not any("lora" in path for path in everything.trainable)


def test_a_model_has_adapters_of_one_rank():
    def rank(*phases):
        return adapter_rank([PhaseSection(**phase) for phase in phases])

    assert adapter_rank("fine_tune") is None
    assert rank({"train": "head"}, {"train": "all", "rank": 3}) is None
    assert rank({"train": "head", "rank": 3}, {"train": "lora", "rank": 16}) == 16
    assert rank({"train": "lora", "rank": 16}, {"train": "lora", "rank": 16}) == 16
    with pytest.raises(PlanError, match=r"have the ranks \[4, 8\]"):
        rank({"train": "lora", "rank": 8}, {"train": "lora", "rank": 4})


def test_a_share_of_the_weights_is_reached_exactly_or_not_exceeded():
    # Of 100 in the backbone the groups have 50, 30 and 20, from the bottom up.
    sizes = {"low": 50, "middle": 30, "top": 20}
    groups = [Group(name, (Weight(name, size),)) for name, size in sizes.items()]

    def learning(fraction):
        phase = PhaseSection(train=ShareOfWeights(fraction=fraction))
        (made,) = plan_phases((phase,), [*groups, GROUPS[3]], "image")
        return list(made.rate_factors)

    assert learning(0.19) == ["head"]
    assert learning(0.2) == learning(0.49) == ["top", "head"]
    assert learning(0.5) == learning(0.99) == ["middle", "top", "head"]
    assert learning(1.0) == ["low", "middle", "top", "head"]


def test_faults_name_the_phase_in_the_recipe():
    for train in (Last(last=4), From(**{"from": "x"}), ("x*",)):
        with pytest.raises(PlanError, match=r"^schedule\.1\.train: "):
            plan_phases((PhaseSection(), PhaseSection(train=train)), GROUPS, "image")
    for groups in (GROUPS[:-1], ()):
        with pytest.raises(PlanError, match="must be the head"):
            plan_phases("fine_tune", groups, "image")


def test_a_contrastive_phase_trains_the_backbone_alone():
    contrastive, probe = plan_phases("contrastive", GROUPS, "text")
    assert "contrastive" in contrastive.title
    assert "head" not in contrastive.rate_factors
    assert contrastive.num_trainable > 0
    assert not contrastive.trainable & probe.trainable
    assert (probe.phase.train, probe.phase.solver) == ("head", "exact")


@pytest.mark.parametrize(("steps", "epochs"), [(1, 60), (4, 15), (7, 9), (154, 1)])
def test_a_contrastive_phase_of_few_rows_has_more_epochs(steps, epochs):
    contrastive, _ = plan_phases("contrastive", GROUPS, "text", steps)
    assert contrastive.phase.epochs == epochs
