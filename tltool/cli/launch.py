"""`tltool launch`: one training by several workers, here or on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from tltool.cli.output import (
    AuditOption,
    JsonOption,
    KeepFailedOption,
    OfflineOption,
    OverridesArgument,
    RecipeArgument,
    TrustOption,
    examples,
    tell,
)

EXAMPLES = examples(
    "tltool launch --workers 2 my_recipe.yaml training.batch_size=64",
    "tltool launch --workers 4 --slurm --gpus 1 my_recipe.yaml > job.sh",
    "tltool launch --workers 4 --kubernetes registry/tltool:1 my_recipe.yaml > job.yaml",
    "tltool launch --workers 4 --ray auto my_recipe.yaml",
)


def launch(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    workers: Annotated[int, typer.Option(min=1, max=4096, help="Processes that train.")] = 2,
    max_restarts: Annotated[
        int, typer.Option(min=0, help="Start all again so often after one has failed.")
    ] = 0,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Print a file for Slurm's sbatch.")
    ] = False,
    submit: Annotated[bool, typer.Option("--submit", help="Hand the file to sbatch.")] = False,
    kubernetes: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="Print a Kubernetes Job whose container is IMAGE."),
    ] = None,
    tfjob: Annotated[
        bool, typer.Option("--tfjob", help="A TFJob of Kubeflow's operator in place of a Job.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Train on a Ray cluster: auto, ray://HOST:PORT, or local."
        ),
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a worker, on a cluster.")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="Processors of a worker, on a cluster.")] = 1,
    memory: Annotated[str, typer.Option(help="Memory of a worker on Kubernetes.")] = "4Gi",
    job_name: Annotated[str, typer.Option(help="Of the job, on Slurm and Kubernetes.")] = "tltool",
    time: Annotated[str | None, typer.Option(help="Longest time of a Slurm job.")] = None,
    partition: Annotated[str | None, typer.Option(help="Of Slurm.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="A further option of sbatch, such as --mem=32G."),
    ] = None,
    claim: Annotated[
        str | None,
        typer.Option(help="PersistentVolumeClaim on Kubernetes that all workers write to."),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Where Ray keeps its state; all machines see it.")
    ] = None,
    keep_failed: KeepFailedOption = False,
    audit: AuditOption = True,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> int:
    """Train one model by several processes: on this machine, or on Slurm, Kubernetes or Ray.

    Each is the command `tltool finetune` with training.distribution=multi_worker; the first one
    writes the run.
    """
    from tltool.finetuning.launching.command import Command

    where = _one_of({"--slurm": slurm, "--kubernetes": kubernetes, "--ray": ray})
    _check_used(
        where,
        {
            "--submit": (submit, "--slurm"),
            "--time": (time, "--slurm"),
            "--partition": (partition, "--slurm"),
            "--sbatch": (sbatch, "--slurm"),
            "--tfjob": (tfjob, "--kubernetes"),
            "--claim": (claim, "--kubernetes"),
            "--storage": (storage, "--ray"),
        },
    )
    options = {"--keep-failed": keep_failed, "--no-audit": not audit, "--json": as_json,
               "--offline": _, "--trust": _trust}  # fmt: skip
    command = Command(
        recipe, tuple(overrides or ()), tuple(name for name, on in options.items() if on),
        again=("--resume",),
    )  # fmt: skip
    command.resolved(workers)
    if slurm:
        from tltool.finetuning.launching.slurm import SlurmJob
        from tltool.finetuning.launching.slurm import submit as to_sbatch

        job = SlurmJob(workers, job_name, gpus, cpus, time, partition, max_restarts,
                       tuple(sbatch or ()))  # fmt: skip
        typer.echo(to_sbatch(job.script(command)) if submit else job.script(command), nl=submit)
        return 0
    if kubernetes is not None:
        from tltool.finetuning.launching.kubernetes import Pods

        pods = Pods(workers, kubernetes, job_name, claim, gpus=gpus, cpus=str(cpus), memory=memory,
                    max_restarts=max_restarts)  # fmt: skip
        typer.echo(pods.tf_job(command) if tfjob else pods.indexed_job(command), nl=False)
        return 0
    if ray is not None:
        from tltool.finetuning.launching.ray import RayJob

        train = RayJob(ray, workers, gpus, cpus, max_restarts, storage)
        typer.echo(train.run(command, audit=audit))
        return 0
    from tltool.finetuning.launching.local import launch_here

    return launch_here(command, workers, max_restarts=max_restarts, tell=tell, out=typer.echo)


def _one_of(given: dict[str, object]) -> str | None:
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise typer.BadParameter(f"{chosen[0]} and {chosen[1]} can't be used together")
    return chosen[0] if chosen else None


def _check_used(where: str | None, given: dict[str, tuple[object, str]]) -> None:
    for name, (value, needed) in given.items():
        if value and where != needed:
            raise typer.BadParameter(f"{name} is an option of {needed}")
