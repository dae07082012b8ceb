from __future__ import annotations

import numpy as np
import pytest
import tiny
from cached_fit import ALWAYS, BACKBONES, PHASES, fit, fit_on_devices, fresh

from tltool.data.preprocessing import ImagePreprocessing
from tltool.recipe.schema import AugmentSection, CacheSection


@pytest.mark.parametrize(
    "kind",
    ["cnn", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("bert", "vit"))],
)
def test_training_with_and_without_the_cache_gives_the_same_weights(kind, tmp_path):
    # Without validation the last epoch is the best, and its weights are compared.
    stored, with_cache, said, _ = fit(kind, tmp_path, PHASES, ALWAYS, validate=False)
    anew, without, _, _ = fit(kind, tmp_path, PHASES, CacheSection(use="never"), validate=False)
    assert sum("computed once" in line for line in said) == 2
    changed = [path for path in anew if not np.array_equal(anew[path], fresh(kind)[path])]
    assert len(changed) >= 3
    for path, value in anew.items():
        np.testing.assert_allclose(stored[path], value, atol=2e-5, err_msg=path)
    for row, other in zip(with_cache, without, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-5)


@pytest.mark.slow
def test_a_later_run_with_another_rate_and_seed_reads_from_disk(tmp_path):
    fit("cnn", tmp_path, PHASES, ALWAYS)
    _, history, said, _ = fit(
        "cnn", tmp_path, ({**PHASES[0], "learning_rate": 0.1}, PHASES[1]), ALWAYS, seed=5
    )
    assert sum("read from disk" in line for line in said) == 2
    assert len(history) == 4


@pytest.mark.slow
def test_other_weights_and_other_preprocessing_are_other_features(tmp_path, monkeypatch):
    fit("cnn", tmp_path, PHASES[:1], ALWAYS)
    darker = tiny.TINY_IMAGE.model_copy(update={"mean": (100.0,) * 3})
    monkeypatch.setattr(tiny, "TINY_IMAGE", darker)
    assert isinstance(darker, ImagePreprocessing)
    _, _, said, store = fit("cnn", tmp_path, PHASES[:1], ALWAYS)
    assert "computed once" in said[0]
    monkeypatch.setitem(BACKBONES, "cnn", lambda: perturbed(tiny.tiny_image_backbone()))
    _, _, said, _ = fit("cnn", tmp_path, PHASES[:1], ALWAYS)
    assert "computed once" in said[0]
    assert len(store.entries()) == 3


def perturbed(backbone):
    first = backbone.model.get_layer("stem_conv").kernel
    first.assign(first + 1e-3)
    return backbone


@pytest.mark.slow
def test_a_phase_that_trained_lower_layers_invalidates_what_lies_above(tmp_path):
    phases = (PHASES[1], PHASES[0])
    _, _, said, store = fit("cnn", tmp_path, phases, ALWAYS)
    assert sum("computed once" in line for line in said) == 2
    stored, _, said, _ = fit("cnn", tmp_path, phases, ALWAYS)
    anew, *_ = fit("cnn", tmp_path, phases, CacheSection(use="never"))
    for path, value in anew.items():
        np.testing.assert_allclose(stored[path], value, atol=2e-5, err_msg=path)
    assert len(store.entries()) == 2


def test_a_damaged_entry_is_noticed_and_computed_again(tmp_path):
    _, right, _, store = fit("cnn", tmp_path, PHASES[:1], ALWAYS)
    (entry,) = store.entries()
    values = np.fromfile(entry.file(0), np.float32)
    (values + 1).tofile(entry.file(0))
    _, history, said, _ = fit("cnn", tmp_path, PHASES[:1], ALWAYS)
    assert "computed once" in said[0]
    assert history[-1]["loss"] == pytest.approx(right[-1]["loss"], abs=1e-6)


def test_half_precision_takes_half_the_space_and_trains_nearly_the_same(tmp_path):
    _, full, _, store = fit("cnn", tmp_path, PHASES[:1], ALWAYS)
    _, half, _, _ = fit("cnn", tmp_path, PHASES[:1], CacheSection(use="always", dtype="float16"))
    sizes = sorted(entry.num_bytes for entry in store.entries())
    assert sizes[1] == 2 * sizes[0]
    assert half[-1]["loss"] == pytest.approx(full[-1]["loss"], abs=1e-2)


def test_what_does_not_fit_the_budget_is_computed_in_every_epoch(tmp_path):
    section = CacheSection(use="always", max_gb=1e-6)
    _, history, said, store = fit("cnn", tmp_path, PHASES[:1], section)
    assert "more than there is room for" in said[0]
    assert len(history) == 2
    assert store.entries() == []


def test_augmentation_without_views_turns_the_cache_off_and_says_so(tmp_path):
    augment = AugmentSection(horizontal_flip=True, brightness=0.2)
    _, _, said, store = fit("cnn", tmp_path, PHASES[:1], ALWAYS, augment=augment)
    assert "augment.views" in said[0]
    assert store.entries() == []


def test_stored_views_train_as_views_computed_in_every_epoch(tmp_path):
    augment = AugmentSection(horizontal_flip=True, brightness=0.3, rotation_degrees=20, views=3)
    stored, with_cache, said, store = fit("cnn", tmp_path, PHASES, ALWAYS, augment=augment)
    anew, without, _, _ = fit("cnn", tmp_path, PHASES, CacheSection(use="never"), augment=augment)
    train_rows, validation_rows = 40, 10
    rows = [entry.rows for entry in store.entries()]
    assert sorted(rows) == [validation_rows] * 2 + [3 * train_rows] * 2
    assert sum("computed once" in line for line in said) == 4
    for path, value in anew.items():
        np.testing.assert_allclose(stored[path], value, atol=2e-5, err_msg=path)
    assert with_cache[-1]["loss"] == pytest.approx(without[-1]["loss"], abs=1e-5)


def test_the_head_s_features_are_computed_from_those_stored_for_a_later_phase(tmp_path):
    _, _, said, store = fit("bert", tmp_path, PHASES, ALWAYS)
    computed = [line for line in said if "computed once" in line]
    assert computed[0].startswith("frozen layers up to block2: computed")
    assert computed[1].startswith("frozen layers up to block3: computed")
    assert "read from disk" in said[-2]
    assert len(store.entries()) == 2


def test_nothing_is_stored_for_a_later_phase_whose_layers_a_phase_in_between_changes(tmp_path):
    head, last, everything = *PHASES, {"train": "all", "epochs": 1, "learning_rate": 0.01}
    _, _, notes, store = fit("cnn", tmp_path, (head, everything, last, head), ALWAYS)
    made = [line for line in notes if "computed once" in line]
    assert [line.partition(":")[0] for line in made] == [
        "frozen layers up to stage2",
        "frozen layers up to stage1",
        "frozen layers up to stage2",
    ]
    assert all("computed once for 2 epochs" in line for line in made)
    assert len(store.entries()) == 3


def test_auto_stores_nothing_where_computing_anew_is_cheaper(tmp_path, monkeypatch):
    from tltool.features import cache as feature_cache
    from tltool.features import store as feature_store

    monkeypatch.setattr(feature_cache, "_MEASURED_SECONDS", 0.0)
    write = feature_store.Writer.write

    def slow_disk(self, rows, values):
        write(self, rows, values)
        self.seconds += 10.0

    monkeypatch.setattr(feature_store.Writer, "write", slow_disk)
    _, _, said, store = fit("cnn", tmp_path, PHASES[:1], CacheSection())
    assert "computing takes" in said[0]
    assert store.entries() == []


def test_auto_stores_where_it_pays(tmp_path):
    *_, store = fit("cnn", tmp_path, PHASES[:1], CacheSection())
    assert len(store.entries()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "bert"])
def test_two_devices_train_on_stored_features_as_one_does(kind):
    one, two = (fit_on_devices(kind, devices) for devices in (1, 2))
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert sum("computed once" in line for line in two["said"]) == 2
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-4)
