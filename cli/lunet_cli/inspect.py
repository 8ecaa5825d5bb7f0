"""`lunet-export inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from lunet_cli import hints, models, output
from lunet_cli.options import ONE_ROW_ON_CPU, Dtype, Json, LoadOptions
from lunet_export.artifact import open_folder
from lunet_export.errors import BadInputError
from lunet_export.files.reading import meant

if TYPE_CHECKING:
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.graphs.estimate import Estimate

_SCREEN = 23  # lines, without the hint
_LONGEST = 140  # characters of a value
_FEW_GRAPHS = 3
#: Keys of a document that only --all shows.
_DETAILS = (
    "format", "format_version", "certificate", "noise", "onnx", "versions", "provenance", "sha256", "bytes", "readme",
    "sha256_manifest", "batch", "constants", "ir_version",
)  # fmt: skip
_TRAINING = ("dataset", "test", "gaussian_test", "accuracy", "recalibrated")


def inspect(
    path: Annotated[Path, Argument(help="A folder, an .onnx file or a model file.")],
    solvers: Annotated[bool, Option(help="For a model file: show what each solver would cost.")] = False,
    dtype: Dtype = "float32",
    load: LoadOptions = ONE_ROW_ON_CPU,
    show_all: Annotated[bool, Option("--all", help="Show everything that is recorded, not only one screen.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is in a folder or file: nodes, sizes, settings.

    The most important lines fit one screen; --all and --json show everything.

    Example: lunet-export inspect runs/digits
    """
    if solvers:
        _solvers(path, dtype, load, as_json=as_json)
        return
    if path.is_dir():
        document = _folder(path)
    elif path.suffix == ".onnx":
        from lunet_export.graphs.builder import describe

        document = describe(path)
    elif path.exists():
        document = _model(path)
    else:
        raise BadInputError(f"Expected a folder or a file; {path} does not exist.{meant(path)}")
    if as_json:
        output.dump(document)
        return
    rows = [(key, str(value)) for key, value in _flat(document)]
    if show_all:
        output.pairs(rows)
        return
    shown = [(key, _shortened(value)) for key, value in _flat(_digest(document))][:_SCREEN]
    output.pairs(shown)
    if left := len(rows) - len(shown):
        output.note(f"--all shows {left} more lines")
        hints.say("inspect", str(path), "--all")


def _digest(document: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a document that readers look for most often."""
    short = {key: value for key, value in document.items() if key not in _DETAILS}
    if short.get("products") == short.get("dtype"):
        short.pop("products", None)
    if isinstance(training := short.pop("training", None), dict):  # last
        short["training"] = {key: training[key] for key in _TRAINING if training.get(key) is not None}
    if isinstance(model := short.get("model"), dict):
        short["model"] = {key: value for key, value in model.items() if key not in ("source", "preprocessing")}
        if isinstance(preprocessing := model.get("preprocessing"), dict):
            told = [f"{key} {value}" for key, value in preprocessing.items() if key not in ("kind", "formula")]
            short["model"]["preprocessing"] = " ".join([str(preprocessing.get("kind")), *told])
        if isinstance(context := model.get("context"), dict) and "classes" in context:
            short["model"]["context"] = {"classes": _named(context["classes"])}
    if isinstance(graphs := short.get("graphs"), dict):
        short["graphs"] = _digest_of_graphs(graphs)
    if isinstance(classes := short.get("classes"), list):
        short["classes"] = _named(classes)
    return short


def _named(classes: list[Any]) -> str:
    names = [str(entry.get("name")) if isinstance(entry, dict) else str(entry) for entry in classes]
    return f"{len(names)}: {', '.join(names)}"


def _digest_of_graphs(graphs: dict[str, Any]) -> dict[str, Any]:
    if len(graphs) > _FEW_GRAPHS:
        return {name: f"{graph.get('nodes')} nodes, in {graph.get('bytes')} bytes" for name, graph in graphs.items()}
    return {name: _digest_of_graph(graph) for name, graph in graphs.items()}


def _digest_of_graph(graph: dict[str, Any]) -> dict[str, Any]:
    short = {key: value for key, value in graph.items() if key not in ("file", "direction", "work_items", "bytes")}
    short["nodes"] = f"{graph.get('nodes')}, in {graph.get('bytes')} bytes"
    if isinstance(solver := graph.get("solver"), dict):
        short["solver"] = " ".join(
            [str(solver.get("name")), *(["tile", str(solver["tile"])] if solver.get("tile") else [])]
        )
    return short


def _shortened(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _solvers(path: Path, dtype: str, made_for: LoadOptions, *, as_json: bool) -> None:
    from lunet_export.export import ExportSettings
    from lunet_export.graphs.estimate import estimates, fastest, solving_ways

    if path.is_dir() or path.suffix == ".onnx":
        raise BadInputError(
            f"Expected a model file for --solvers; got {path}. Give the model file from which it was exported."
        )
    settings, load = ExportSettings(dtype=dtype), made_for.load
    weights = models.read_model(path).weights
    if not weights.solves:
        raise BadInputError(
            f"Expected a model with LU layers for a comparison of solvers; got {weights.kind.title}, which has "
            "none. Give an LU-Net."
        )
    found = estimates(weights, dtype=settings.tensors, products=settings.products, load=load)
    best = fastest(found)
    if as_json:
        solvers = [estimate.as_json() for estimate in found]
        output.dump({"target": load.provider, "batch": load.batch, "auto": str(best.solver), "solvers": solvers})
        return
    graphs = " and ".join("density" if forward else "sampling" for forward in solving_ways(weights))
    columns = [graphs, "nodes", "Mflop/row", "MB", "GPU work items", f"{dtype} error", "of the tolerance"]
    columns += [f"ms, {load.provider}, batch {load.batch}", ""]
    output.table(columns, [_estimated(estimate, is_best=estimate is best) for estimate in found])
    output.say(
        "errors: products computed in that dtype on 8 rows; milliseconds: estimates of a cost model; bench measures"
    )


def _estimated(estimate: "Estimate", *, is_best: bool) -> tuple[str, ...]:
    return (
        str(estimate.solver),
        str(estimate.nodes),
        f"{estimate.flops / 1e6:.3g}",
        f"{estimate.bytes / 1e6:.2f}",
        str(estimate.work_items),
        f"{estimate.error:.1e}",
        f"{estimate.share:.2g}",
        f"{estimate.milliseconds:.3g}",
        "auto" if is_best else "",
    )


def _folder(path: Path) -> dict[str, Any]:
    document = dict(open_folder(path).manifest.document)
    checks = document.pop("checks")
    document["checks"] = f"{len(checks)} passed at export" if checks else "none"
    return document


def _model(path: Path) -> dict[str, Any]:
    checkpoint = models.read_model(path)
    if not checkpoint.members:
        return _network(checkpoint)
    mixture = checkpoint.mixture
    return {
        "kind": "lunet_export, one network per class",
        "dim": mixture.dim,
        "preprocessing": str(mixture.preprocessing),
        "image_shape": checkpoint.image_shape,
        **({"columns": list(checkpoint.columns)} if checkpoint.columns else {}),
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
        "family": weights.kind.name,
        **weights.facts(),
        "preprocessing": str(weights.preprocessing),
        "image_shape": checkpoint.image_shape,
        **({"columns": list(checkpoint.columns)} if checkpoint.columns else {}),
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
        elif key == "columns" and isinstance(value, list):
            rows.append((f"{prefix}{key}", ", ".join(map(str, value))))
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
