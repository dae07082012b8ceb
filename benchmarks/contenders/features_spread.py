"""Frozen features of a folder's files, computed here or by workers of a Ray cluster."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack

from protocol import Stopwatch, jpeg_files, read_settings, report

from tltool.backbones.load import load_backbone
from tltool.data.examples import Examples
from tltool.features.cache import Boundary, FeatureCache
from tltool.features.store import Entry
from tltool.graph.cut import cut_model
from tltool.recipe.schema import CacheSection
from tltool.support.ray_cluster import spread_over


def main() -> None:
    settings = read_settings()
    workers = settings["workers"]
    # One core for each that computes, and their helpers on the same ones.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: max(1, workers)])
    paths = jpeg_files(settings["folder"])
    with ExitStack() as stack:
        spread = None
        if workers:
            import ray

            ray.init(address="local", num_cpus=workers, include_dashboard=False,
                     log_to_driver=False)  # fmt: skip
            spread = stack.enter_context(spread_over("local"))
        stopwatch = Stopwatch()
        backbone = load_backbone("efficientnet-lite0")
        cache = FeatureCache(
            CacheSection(use="always"),
            Examples("image", paths, [None] * len(paths), ["train"] * len(paths), paths),
            backbone.preprocessing,
            spread=spread,
        )
        cut = cut_model(backbone.model, set())
        served = cache.serve(Boundary(cut, "the top", epochs=1))
        times = stopwatch.read()
    report(seconds=times["wall_s"], sha256=digest(served.entries[0]))


def digest(entry: Entry) -> str:
    """sha256 of an entry's files."""
    found = hashlib.sha256()
    for index in range(len(entry.tensors)):
        found.update(entry.file(index).read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
