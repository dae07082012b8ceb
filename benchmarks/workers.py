"""Examples a second of one and of two workers on this machine, each on a core of its own.

python benchmarks/workers.py [--workers 1 2] [--batches 32 128] [--rows 1280] [--epochs 6]

Fine-tunes all layers of all-minilm-l6-v2 on tweets, with the same global batches, by the command
that `tltool launch` starts, but with each worker bound to one core (`taskset`). The first epoch,
which compiles, is left out. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from results import write_section

from tltool.finetuning.launching.local import free_ports
from tltool.training.place import tf_config

RECIPE = (
    "quickstart",
    "schedule=[{train: all, epochs: EPOCHS, learning_rate: 0.00005}]",
    "export.formats=[]",
    # Of epochs so short, writing 361 MB would be the longer part.
    "training.checkpoint=off",
    "evaluation.baseline=false",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--rows", type=int, default=1280)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if max(options.workers) > len(cores):
        parser.error(f"{max(options.workers)} workers need as many cores, this has {len(cores)}")
    lines = [
        "## Several workers on one machine",
        "",
        f"All layers of all-minilm-l6-v2 on {options.rows} tweets, a core for each worker, "
        f"median of epochs 2 to {options.epochs} (`workers.py`). After each step the workers sum "
        "up the gradients of all weights, 90 MB, over the machine's loopback.",
        "",
        "| Global batch | Workers | Examples a second | Times the first |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for batch in options.batches:
        first = None
        for workers in options.workers:
            rate = measure(workers, cores, batch, options.rows, options.epochs)
            first = first or rate
            lines.append(f"| {batch} | {workers} | {rate:.1f} | {rate / first:.2f} |")
    text = "\n".join(lines)
    print(text)
    write_section("workers", text)


def measure(workers: int, cores: list[int], batch: int, rows: int, epochs: int) -> float:
    """Examples a second of all workers together."""
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            *(part.replace("EPOCHS", str(epochs)) for part in RECIPE),
            f"training.batch_size={batch}",
            f"data.max_examples={rows}",
            f"output_dir={folder}",
            *(["training.distribution=multi_worker"] if workers > 1 else []),
        ]
        processes = []
        for index in range(workers):
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
            if workers > 1:
                environment["TF_CONFIG"] = tf_config(addresses, index)
            command = ["taskset", "--cpu-list", str(cores[index]), sys.executable, "-m", "tltool"]
            processes.append(
                subprocess.Popen(
                    [*command, "finetune", *overrides], env=environment, stdout=subprocess.DEVNULL
                )
            )
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"{workers} workers have failed.")
        (history,) = Path(folder).glob("*/1/history.csv")
        rates = [
            float(row["examples_per_second"])
            for row in csv.DictReader(history.read_text().splitlines())
        ]
    return median(rates[1:])


if __name__ == "__main__":
    main()
