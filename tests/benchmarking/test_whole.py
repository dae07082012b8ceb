"""benchmarks/whole.py: checkouts take turns, and ratios are those of the rounds."""

from __future__ import annotations

import whole


def test_ratios_are_the_median_of_those_of_the_rounds():
    def runs(*cpu):
        of_one = [whole.Seconds(2 * seconds, seconds) for seconds in cpu]
        return {"first": of_one, "second": of_one}

    lines = whole.table({"new": runs(1, 8, 3), "old": runs(2, 10, 10)}).splitlines()
    assert lines[2] == "| new | 6.0 s | 3.0 s | 6.0 s | 3.0 s |"
    assert lines[3] == "| old | 20.0 s | 10.0 s | 20.0 s | 10.0 s |"
    assert lines[4] == "| ratio | 0.50 | 0.50 | 0.50 | 0.50 |"


def test_checkouts_take_turns_and_each_round_begins_with_an_empty_cache(tmp_path, monkeypatch):
    seen = []

    def timed(checkout, words, cache, output):
        computed = sorted(path.name for path in cache.iterdir() if path.name == "features")
        seen.append((checkout, output.name, computed))
        (cache / "features").mkdir(exist_ok=True)
        return whole.Seconds(1, 1)

    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(whole, "timed", timed)
    runs = whole.compete({"new": "N", "old": "O"}, ["quickstart"], tmp_path, rounds=2)
    each = [("first", []), ("second", ["features"])]
    assert seen == [(checkout, *one) for checkout in "NOON" for one in each]
    assert {len(own) for of_one in runs.values() for own in of_one.values()} == {2}


def test_photographs_are_so_many_of_each_class(tmp_path):
    for split, count in (("train", 25), ("test", 15)):
        for label in "ab":
            (folder := tmp_path / "data" / split / label).mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:02}.jpg").touch()
    made = whole.lay_out(tmp_path / "data", tmp_path / "photographs")
    assert sum(path.is_file() for path in made.rglob("*")) == 2 * (21 + 15)
    assert (made / "train" / "a" / "20.jpg").is_file()
    assert not (made / "train" / "a" / "21.jpg").exists()
