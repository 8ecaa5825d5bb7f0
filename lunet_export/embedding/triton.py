"""A model repository for Triton Inference Server, made of an exported folder with the standard library only.

    REPOSITORY/NAME-density/config.pbtxt      Triton's ModelConfig in protobuf's text format
    REPOSITORY/NAME-density/1/model.onnx      x -> log_prob, z
    REPOSITORY/NAME-sampling/...              z -> x

Of a conditional flow both take a second input, `context`, with one row for each of x or z: Triton joins the requests of
several clients along the batch, so one context for all rows is repeated by the client.

A model has one configuration and one graph per version: a further version adds its graph and does not change the
configuration, which the owner may have tuned.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from lunet_export import files, installation
from lunet_export.artifact import Artifact, Manifest
from lunet_export.errors import ArtifactError, BadInputError

#: Its input is a shape instead of rows, so Triton cannot limit or combine its batches.
NOT_SERVED = "random_sampling"
CONFIG, GRAPH = "config.pbtxt", "model.onnx"
#: NVIDIA's server, in the release that was tested; `use_tf32` works from 24.06 on.
IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"
CLIENT_PACKAGE = "tritonclient[grpc]"

_MARK = "# Written by lunet-export"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TYPES = {"float32": "TYPE_FP32", "float64": "TYPE_FP64"}
_KINDS = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}
_LARGEST_VERSION = 2**63 - 1
_HTTP, _GRPC = 8000, 8001  # ports
_WARM_BATCH = 256  # rows; a batch of this size uses other kernels than one row


@dataclass(frozen=True)
class Settings:
    """Settings with which Triton serves the models.

    Attributes:
        name: Name of the models, before "-density"; None takes the name of the export.
        version: Version of the models.
        max_batch: Largest number of rows per run; None takes the largest batch of the export.
        queue_delay_us: Time that a request waits for others to share its run, in microseconds.
        instances: Number of instances of each model; with "cuda", per GPU.
        versions_served: Number of versions that are served, the highest ones.
        target: Device on which the server runs the models.

    Raises:
        BadInputError: if a number is out of its range, or the target is unknown.
    """

    name: str | None = None
    version: int = 1
    max_batch: int | None = None
    queue_delay_us: int = 100
    instances: int = 1
    versions_served: int = 1
    target: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        for option, least in (("version", 1), ("queue_delay_us", 0), ("instances", 1), ("versions_served", 1)):
            value, most = getattr(self, option), _LARGEST_VERSION if option == "version" else 2**31 - 1
            if not least <= value <= most:
                raise BadInputError(f"Expected `{option}` from {least} to {most}; got {value}.")
        if self.target not in _KINDS:
            raise BadInputError(f"Expected a target of {', '.join(_KINDS)}; got {self.target!r}.")


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph, as Triton sees it."""

    name: str
    dtype: str
    dims: tuple[int, ...]  # dimensions of a row; () for one number per row, which Triton serves as [batch, 1]
    unit: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Return the tensor of an entry of the manifest, whose shape begins with the batch."""
        name, (rows, *dims), dtype, unit = entry["name"], entry["shape"], entry["dtype"], entry["unit"]
        whole = rows == ("contexts" if name == "context" else "batch")
        whole = whole and all(type(length) is int and length > 0 for length in dims)
        # Both texts go into the configuration without escapes.
        if not (_NAME.fullmatch(name) and unit.isprintable() and whole and dtype in _TYPES):
            raise ValueError(name)
        return cls(name, dtype, tuple(dims), unit)

    @property
    def served(self) -> tuple[int, ...]:
        """Return the dimensions of a row in requests and responses, of which Triton needs at least one."""
        return self.dims or (1,)


@dataclass(frozen=True)
class Model:
    """A model that was written."""

    name: str
    version: int
    graph: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    folder: Path
    config_kept: bool  # whether an existing configuration differs from the settings and was not changed

    @property
    def file(self) -> Path:
        """Return the path of the graph of this version."""
        return self.folder / str(self.version) / GRAPH


def write(
    artifact: Artifact, repository: Path, settings: Settings | None = None, *, force: bool = False
) -> list[Model]:
    """Write a model for each graph of the artifact except `random_sampling`. All of them appear, or none.

    Args:
        artifact: Opened export.
        repository: Folder of the models, which may hold other models; it is made if it does not exist.
        settings: Names, version and batching; None takes the defaults.
        force: Whether to replace this version and the configuration of models that lunet-export wrote.

    Returns:
        The models that were written.

    Raises:
        BadInputError: if a setting does not fit, the version exists, or a folder of that name holds something else.
        ArtifactError: if the manifest does not describe the graphs.
    """
    settings = settings or Settings()
    artifact.manifest.validate_kind(classes=False)
    name = _name(artifact.manifest, settings)
    largest = _max_batch(artifact.manifest, settings)
    if repository.exists() and not repository.is_dir():
        raise BadInputError(f"Expected a folder for the model repository; {repository} is a file. Give another path.")
    models, texts = [], []
    for graph in artifact.manifest.graphs:
        if graph != NOT_SERVED:
            inputs, outputs = _tensors(artifact.manifest, graph)
            folder = repository / f"{name}-{graph}"
            text = _config(folder.name, inputs, outputs, largest, settings)
            old = _existing(folder, settings.version, _interface(inputs, outputs), force=force)
            kept = old is not None and not force
            models.append(Model(folder.name, settings.version, graph, inputs, outputs, folder, kept and old != text))
            texts.append(None if kept else text)
    _write_all(models, texts, [artifact.graphs[model.graph] for model in models], repository)
    return models


def _name(manifest: Manifest, settings: Settings) -> str:
    name = manifest.name if settings.name is None else settings.name
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"Expected a model name of up to 100 letters, digits, '.', '_' and '-', beginning with a letter or digit; "
            f"got {name!r}. Give another `name`."
        )
    return name


def _max_batch(manifest: Manifest, settings: Settings) -> int:
    try:
        _, most = manifest.document["batch"]
    except (KeyError, TypeError, ValueError):
        most = None
    if type(most) is not int or not 1 <= most < 2**31:
        raise ArtifactError("Expected the smallest and largest batch in the manifest; they are missing. Export again.")
    wanted = most if settings.max_batch is None else settings.max_batch
    if not 1 <= wanted <= most:
        raise BadInputError(f"Expected `max_batch` from 1 to {most}, the largest batch of this export; got {wanted}.")
    return wanted


def _tensors(manifest: Manifest, graph: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    try:
        entry = manifest.document["graphs"][graph]
        inputs = tuple(Tensor.of(tensor) for tensor in entry["inputs"])
        outputs = tuple(Tensor.of(tensor) for tensor in entry["outputs"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"Expected the tensors of {graph} in the manifest; {error} is wrong. Export again."
        ) from None
    return inputs, outputs


def _existing(folder: Path, version: int, interface: str, *, force: bool) -> str | None:
    """Return the configuration of an existing model that may take the version; None if there is no folder.

    Raises:
        BadInputError: if lunet-export did not write it, or it has the version, or other inputs and outputs.
    """
    if not folder.exists():
        return None
    config = folder / CONFIG
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    if not text.startswith(_MARK):
        raise BadInputError(
            f"Expected a model that lunet-export wrote, or no folder; {folder} is something else. Give another `name` "
            "or path."
        )
    if interface not in text:
        raise BadInputError(
            f"Expected the inputs and outputs of {config}, which all versions share; this export has others. "
            "Give another `name`, or delete that folder."
        )
    if (folder / str(version)).exists() and not force:
        highest = max(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())
        raise BadInputError(
            f"Expected a version that {folder} does not have; {version} exists. "
            f"Give `version={highest + 1}`, or `force=True` to replace {version}."
        )
    return text


def commands(name: str, repository: Path, folder: Path, *, gpu: bool) -> list[str]:
    """Return lines of shell that serve a repository, wait for the server, replay an export there and stop the server.

    Args:
        name: Name of the models, before "-density".
        repository: Folder of the models.
        folder: Exported folder that they were made from.
        gpu: Whether the server gets the GPUs.
    """
    container = f"{name}-triton"
    served = f"type=bind,{_field(f'source={repository.resolve()}')},target=/models,readonly"
    ports = [word for port in (_HTTP, _GRPC) for word in ("-p", f"{port}:{port}")]
    start = ["docker", "run", "-d", "--name", container, *(["--gpus", "all"] if gpu else []), *ports]
    return [
        shlex.join([*start, "--mount", served, IMAGE, "tritonserver", "--model-repository=/models"]),
        f"curl -sf --retry 60 --retry-delay 1 --retry-all-errors localhost:{_HTTP}/v2/health/ready",
        *([] if find_spec("tritonclient") else [installation.install(CLIENT_PACKAGE)]),
        installation.module("lunet_export.embedding.triton_client", name, "--replay", str(folder)),
        shlex.join(["docker", "rm", "-f", container]),
    ]


def _field(text: str) -> str:
    """Return a field of Docker's --mount, whose value is a line of CSV."""
    return '"' + text.replace('"', '""') + '"' if {*text} & {*',"\n'} else text


# The configuration


def _config(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], max_batch: int, settings: Settings) -> str:
    parts = [
        f"{_MARK}. Adding a version does not change this file; --force rewrites it.",
        f'name: "{name}"\nbackend: "onnxruntime"',
        f"# Largest number of rows per run; Triton refuses larger requests. The batch comes before all dims below.\n"
        f"max_batch_size: {max_batch}",
        f"# {'; '.join(f'{tensor.name}: {tensor.unit}' for tensor in (*inputs, *outputs))}\n"
        f"{_interface(inputs, outputs)}",
        f"# Requests that come within this time share a run.\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {settings.queue_delay_us} }}",
        f"# The highest versions of this folder.\n"
        f"version_policy {{ latest {{ num_versions: {settings.versions_served} }} }}",
        _CPU.format(settings.instances) if settings.target == "cpu" else _CUDA.format(settings.instances),
        _warmup(inputs, max_batch),
    ]
    return "\n\n".join(parts) + "\n"


_CPU = """\
# ONNX Runtime uses one thread per core for each instance. For fewer threads:
# parameters {{ key: "intra_op_thread_count" value {{ string_value: "2" }} }}
instance_group [ {{ kind: KIND_CPU count: {} }} ]"""

_CUDA = """\
# Instances per GPU. A server without a GPU refuses the model.
instance_group [ {{ kind: KIND_GPU count: {} }} ]

# TF32 is off: it rounds the inputs of float32 matrix products to 10 bits, and log_prob would be off by tenths of a nat.
# Servers before 24.06 do not know the accelerator "cuda" and refuse the model: delete this block for them, and start
# the server with NVIDIA_TF32_OVERRIDE=0 in its environment.
optimization {{
  execution_accelerators {{
    gpu_execution_accelerator [ {{ name: "cuda" parameters {{ key: "use_tf32" value: "0" }} }} ]
  }}
}}"""


def _interface(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """Return the inputs and outputs, which all versions of a model share."""
    return f"input [\n{_entries(inputs)}\n]\noutput [\n{_entries(outputs)}\n]"


def _entries(tensors: Sequence[Tensor]) -> str:
    return ",\n".join(
        f'  {{ name: "{tensor.name}" data_type: {_TYPES[tensor.dtype]} dims: {_shape(tensor.served)} '
        # The graph gives [batch], which Triton can serve as [batch, 1] only.
        f"{'' if tensor.dims else 'reshape { shape: [ ] } '}}}"
        for tensor in tensors
    )


def _warmup(inputs: Sequence[Tensor], max_batch: int) -> str:
    samples = []
    for rows in sorted({1, min(max_batch, _WARM_BATCH)}):
        data = " ".join(
            f'inputs {{ key: "{tensor.name}" value {{ data_type: {_TYPES[tensor.dtype]} dims: {_shape(tensor.served)} '
            "zero_data: true } }"
            for tensor in inputs
        )
        samples.append(f'  {{ name: "batch {rows}" batch_size: {rows} {data} }}')
    listed = ",\n".join(samples)
    return (
        "# These runs come before the model is ready, so that no request waits for a first run. Zeros lie in every\n"
        f"# domain; the random data of Triton are random bytes, which include NaN.\nmodel_warmup [\n{listed}\n]"
    )


def _shape(dims: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, dims))} ]"


# Files


_SCRATCH = "lunet-export"  # part of the name of the temporary folder


def _write_all(models: Sequence[Model], texts: Sequence[str | None], graphs: Sequence[bytes], repository: Path) -> None:
    """Write beside the models, then rename everything into place; any error undoes the renames."""
    made = not repository.exists()
    repository.mkdir(parents=True, exist_ok=True)
    try:
        # Inside the repository, which may be its own file system. A server that polls it logs this folder.
        with files.exclusive(repository), files.scratch_folder(repository, _SCRATCH) as scratch:
            files.sweep(repository, _SCRATCH, "")
            moves = []
            for model, text, graph in zip(models, texts, graphs, strict=True):
                fresh = scratch / model.name
                version = fresh / str(model.version)
                version.mkdir(parents=True)
                _write(version / GRAPH, graph)
                if text is not None:
                    _write(fresh / CONFIG, text.encode())
                if model.folder.exists():
                    moves += [(entry, model.folder / entry.name) for entry in fresh.iterdir()]
                else:
                    moves.append((fresh, model.folder))
            _rename_all(moves, scratch)
    except BaseException:
        if made:
            with suppress(OSError):
                repository.rmdir()
        raise


def _rename_all(moves: Sequence[tuple[Path, Path]], scratch: Path) -> None:
    with ExitStack() as undo:
        for number, (fresh, place) in enumerate(moves):
            if place.exists():
                undo.callback(_exchange_back, fresh, place, place.stat())
                if files.exchange(fresh, place):
                    continue
                aside = scratch / f"old {number}"
                undo.callback(_back, aside, place)
                place.rename(aside)
            undo.callback(_back, place, fresh)
            fresh.rename(place)
        undo.pop_all()


def _exchange_back(fresh: Path, place: Path, before: os.stat_result) -> None:
    """Undo an exchange if it took place: Ctrl-C may have come before it."""
    if fresh.exists() and os.path.samestat(fresh.stat(), before):
        files.exchange(fresh, place)


def _back(moved: Path, origin: Path) -> None:
    """Undo a rename if it took place: Ctrl-C may have come before it."""
    if moved.exists() and not origin.exists():
        moved.rename(origin)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
