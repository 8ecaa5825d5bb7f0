"""`lunet-export triton`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from lunet_cli import hints, output
from lunet_cli.options import Folder, Force, Json, TargetName
from lunet_cli.pipes import validate_not_stdout
from lunet_export.artifact import open_folder
from lunet_export.embedding import triton as server


def triton(
    folder: Folder,
    repository: Annotated[
        Path, Option("--output", "-o", help="The model repository; it is made if it does not exist.")
    ] = Path("model_repository"),
    name: Annotated[
        str | None, Option(help="Name of the models, before -density. Default: the name of the export.")
    ] = None,
    version: Annotated[int, Option(help="Version of the models; a new one is added beside the old ones.")] = 1,
    max_batch: Annotated[
        int | None, Option(help="Largest number of rows per run. Default: the largest batch of the export.")
    ] = None,
    queue_delay_us: Annotated[int, Option(help="Time that a request waits for others, in microseconds.")] = 100,
    instances: Annotated[int, Option(help="Number of instances of each model; with cuda, per GPU.")] = 1,
    versions_served: Annotated[int, Option(help="Number of versions that are served, the highest ones.")] = 1,
    target: Annotated[TargetName, Option(help="Device on which the server runs the models.")] = TargetName.CPU,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a model repository for Triton Inference Server.

    It uses the ONNX Runtime backend with dynamic batching and versions. A further --version adds its graphs and does
    not change the configurations.

    Example: lunet-export triton runs/digits -o model_repository
    """
    validate_not_stdout("-o", repository)
    artifact = open_folder(folder)
    settings = server.Settings(name, version, max_batch, queue_delay_us, instances, versions_served, target.value)
    models = server.write(artifact, repository, settings, force=force)
    left_out = [graph for graph in artifact.manifest.graphs if graph == server.NOT_SERVED]
    if as_json:
        output.dump({"repository": str(repository), "left_out": left_out, "models": [_as_json(m) for m in models]})
        return
    for model in models:
        output.say(f"{model.file}: {_tensors(model.inputs)} -> {_tensors(model.outputs)}")
    if target == TargetName.CUDA and not any(model.config_kept for model in models):
        output.say(
            "TF32 is off: use_tf32 0 in config.pbtxt, which Triton's ONNX Runtime backend passes on from 24.06 on"
        )
    if kept := [model.name for model in models if model.config_kept]:
        output.complain(f"{server.CONFIG} of {', '.join(kept)} is not changed; --force writes it from these options.")
    for graph in left_out:
        output.complain(
            f"{graph} is left out: it takes a shape instead of rows, so Triton cannot limit or combine its batches."
        )
    prefix = models[0].name.removesuffix(f"-{models[0].graph}")
    for line in server.commands(prefix, repository, folder, gpu=target == TargetName.CUDA):
        hints.say_line(line)


def _tensors(tensors: tuple[server.Tensor, ...]) -> str:
    return ", ".join(f"{tensor.name} [N, {', '.join(map(str, tensor.served))}]" for tensor in tensors)


def _as_json(model: server.Model) -> dict[str, object]:
    shapes = {
        kind: {tensor.name: [-1, *tensor.served] for tensor in tensors}
        for kind, tensors in (("inputs", model.inputs), ("outputs", model.outputs))
    }
    return {
        "name": model.name,
        "version": model.version,
        "graph": model.graph,
        "file": str(model.file),
        "config": str(model.folder / server.CONFIG),
        "config_kept": model.config_kept,
        **shapes,
    }
