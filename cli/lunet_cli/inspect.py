"""`lunet-export inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli import output
from lunet_cli.options import Batch, Dtype, Json, PreprocessName, Target, TargetName
from lunet_export.artifact import open_folder
from lunet_export.errors import BadInputError

if TYPE_CHECKING:
    from lunet_export.checkpoint import Checkpoint


def inspect(
    path: Annotated[Path, typer.Argument(help="A folder, an .onnx file or a model file.", show_default=False)],
    solvers: Annotated[bool, typer.Option("--solvers", help="Of a model file: what each solver would cost.")] = False,
    dtype: Dtype = "float32",
    target: Target = TargetName.CPU,
    batch: Batch = 1,
    as_json: Json = False,
) -> None:
    """Show what is in a folder or file: nodes, sizes, settings.

    Example: lunet-export inspect exported/digits
    """
    if solvers:
        _solvers(path, dtype, target, batch, as_json=as_json)
        return
    if path.is_dir():
        document = _folder(path)
    elif path.suffix == ".onnx":
        document = _graph(path)
    elif path.exists():
        document = _model(path)
    else:
        raise BadInputError(f"Expected a folder or a file; {path} does not exist.")
    if as_json:
        output.dump(document)
    else:
        output.pairs([(key, str(value)) for key, value in _flat(document)])


def _solvers(path: Path, dtype: str, target: TargetName, batch: int, *, as_json: bool) -> None:
    from lunet_cli.models import read_model
    from lunet_export.export import ExportSettings, Load
    from lunet_export.families.lunet.graphs.estimate import estimates, fastest
    from lunet_export.families.lunet.weights import only_lunet

    if path.is_dir() or path.suffix == ".onnx":
        raise BadInputError(f"Expected a model file for --solvers; got {path}. Give the checkpoint it came from.")
    settings, load = ExportSettings(dtype=dtype), Load(target.value, batch)
    weights = only_lunet(read_model(path, None, PreprocessName.NONE).weights, "a comparison of solvers")
    found = estimates(weights, dtype=settings.tensors, products=settings.products, load=load)
    best = fastest(found)
    if as_json:
        output.dump(
            {
                "target": target.value,
                "batch": batch,
                "auto": str(best.solver),
                "solvers": [estimate.as_json() for estimate in found],
            }
        )
        return
    rows = [
        (
            str(estimate.solver),
            str(estimate.nodes),
            f"{estimate.flops / 1e6:.3g}",
            f"{estimate.bytes / 1e6:.2f}",
            str(estimate.work_items),
            f"{estimate.error:.1e}",
            f"{estimate.share:.2g}",
            f"{estimate.milliseconds:.3g}",
            "auto" if estimate is best else "",
        )
        for estimate in found
    ]
    columns = ["sampling", "nodes", "Mflop/row", "MB", "GPU work items", f"{dtype} error", "of the tolerance"]
    output.table([*columns, f"ms, {target.value}, batch {batch}", ""], rows)
    output.say(
        "errors: the products computed in that dtype on 8 rows; milliseconds: a cost model, see bench for measured ones"
    )


def _folder(path: Path) -> dict[str, Any]:
    document = dict(open_folder(path).manifest.document)
    checks = document.pop("checks")
    document["checks"] = f"{len(checks)} passed at export" if checks else "none"
    return document


def _graph(path: Path) -> dict[str, Any]:
    from lunet_export.graphs.builder import describe

    return describe(path)


def _model(path: Path) -> dict[str, Any]:
    from lunet_cli.models import read_model

    checkpoint = read_model(path, None, PreprocessName.NONE)
    if not checkpoint.members:
        return _network(checkpoint)
    mixture = checkpoint.mixture
    return {
        "kind": "lunet_export, a network a class",
        "dim": mixture.dim,
        "preprocessing": str(mixture.preprocessing),
        "image_shape": checkpoint.image_shape,
        "sha256_weights": mixture.digest(),
        "training": dict(checkpoint.training or {}),
        "classes": [
            {"name": name, "prior": prior, **_network(member)}
            for name, prior, member in zip(mixture.names, mixture.priors, checkpoint.members, strict=True)
        ],
    }


def _network(checkpoint: "Checkpoint") -> dict[str, Any]:
    weights = checkpoint.weights
    return {
        "kind": checkpoint.kind,
        "dim": weights.dim,
        "family": weights.family,
        **weights.facts(),
        "preprocessing": str(weights.preprocessing),
        "image_shape": checkpoint.image_shape,
        "sha256_weights": weights.digest(),
        "training": dict(checkpoint.training or {}),
    }


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in document.items():
        if isinstance(value, dict) and key != "operators":
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, dict):
            rows.append((f"{prefix}{key}", ", ".join(f"{name} {count}" for name, count in value.items())))
        elif key in ("inputs", "outputs") and isinstance(value, list):
            tensors = [tensor if isinstance(tensor, dict) else {} for tensor in value]
            texts = [f"{t.get('name')} {t.get('shape')} {t.get('dtype')}" for t in tensors]
            rows.append((f"{prefix}{key}", "; ".join(texts)))
        elif key == "classes" and isinstance(value, list):
            for number, entry in enumerate(value):
                rows += _flat(entry if isinstance(entry, dict) else {"": entry}, f"{prefix}{key}.{number}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
