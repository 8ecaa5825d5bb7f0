"""`export_for_verifier`: a generator, latent boxes, a merged graph and queries, checked before the folder appears."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.artifact import sealed
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.export import readme
from lunet_export.export.parts import Parts, publish, validate_target
from lunet_export.export.provenance import Provenance, versions
from lunet_export.flows import LUNet
from lunet_export.graphs import builder, merge
from lunet_export.graphs import verifier as generator
from lunet_export.layers import LU, Chain, validate_unconditional
from lunet_export.parity import Check, compare
from lunet_export.runtime import providers
from lunet_export.verification import box, folder, vnnlib
from lunet_export.verification.box import LatentBox, Share
from lunet_export.verification.claim import Claim
from lunet_export.verification.folder import VerifierFolder
from lunet_export.verification.vnnlib import Query

Array = NDArray[np.float64]

_ROWS = 64  # rows of each kind at which the generator is checked
_STANDARD_ERRORS = 3.0
_CURE = "Report this model."
_WANTED = frozenset({folder.DOCUMENT, folder.GENERATOR})


@dataclass(frozen=True)
class Question:
    """The question to a verifier.

    Attributes:
        masses: Probability masses of the boxes.
        classifier: Classifier to append to the generator; None asks about the generator itself.
        claim: Claim in the language of `lunet_export.verification.claim`; None writes boxes alone.

    Raises:
        BadInputError: if there is no mass, or one twice.
    """

    masses: tuple[float, ...] = (0.9,)
    classifier: onnx.ModelProto | None = None
    claim: str | None = None

    def __post_init__(self) -> None:
        if not self.masses or len(set(self.masses)) != len(self.masses):
            raise BadInputError(
                f"Expected one or more masses that differ; got {', '.join(map(str, self.masses)) or 'none'}."
            )


@dataclass(frozen=True)
class HeldOut:
    """Shares of held-out data in each box, in the order of the masses."""

    data: str
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class ExportedForVerifier:
    """A written folder, and the checks that it passed."""

    folder: Path
    document: Mapping[str, Any]
    checks: list[Check]


@dataclass(frozen=True)
class _Content:
    """The content of the folder before it is written."""

    graphs: dict[str, onnx.ModelProto]  # by file name
    queries: dict[str, Query]  # by file name
    texts: dict[str, str]  # texts of the queries by file name
    boxes: tuple[LatentBox, ...]
    claim: Claim | None


def export_for_verifier(
    weights: Chain,
    target: Path,
    provenance: Provenance,
    question: Question,
    *,
    held_out: Callable[[Sequence[LatentBox]], HeldOut] | None = None,
    force: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> ExportedForVerifier:
    """Write the folder that `lunet_export.verification.folder` describes. It appears checked and whole, or not at all.

    Args:
        weights: Model with leaky ReLU.
        target: Folder to write.
        provenance: Name, source and training record of the model.
        question: Masses of the boxes, classifier and claim.
        held_out: Function that returns the shares of held-out data in the boxes; None leaves them out.
        force: Whether an existing folder for verifiers is replaced.
        on_stage: Function that is called with a few words before each stage.

    Returns:
        The folder with its document and its checks.

    Raises:
        BadInputError: if the folder exists, the flow takes a context, the activation is not piecewise linear, a mass
            is not between 0 and 1, the classifier does not fit, or the claim is malformed.
        CheckFailedError: if a check failed; then nothing is written.
    """
    validate_unconditional(weights.context, "an export for verifiers")
    generator.validate_piecewise_linear(weights)
    _validate_target(target, force=force)
    if question.classifier is not None and weights.preprocessing:
        raise BadInputError(
            "Expected a model without pre-processing for `classifier`; the generator of this one ends at h = logit(x), "
            "and the map from there to grey levels is not piecewise linear. Train it on the same numbers as floats."
        )
    on_stage("building the graphs")
    content = _content(weights, provenance, question)
    on_stage("counting the rows in the boxes")
    shares = held_out(content.boxes) if held_out else None
    drawn = [_drawn(entry) for entry in content.boxes]
    document = _document(weights, provenance, content, drawn, shares)
    data = {name: builder.serialize(model) for name, model in content.graphs.items()}
    data |= {name: text.encode() for name, text in content.texts.items()}
    parts = Parts(document, data, readme.of_verifier_folder(document), folder.DOCUMENT)

    def check(fresh: Path) -> list[Check]:
        on_stage("checking the folder")
        _validate_operators(fresh / folder.GENERATOR, weights.dim)
        written = VerifierFolder.open(fresh)
        if dict(written.queries) != content.queries:
            raise CheckFailedError("Expected queries that read back as they were written; they do not. " + _CURE)
        return [*_of_boxes(content.boxes, drawn), *_of_graphs(written, weights, question, content.boxes)]

    checks = publish(target, parts, check, refuse=lambda: _validate_target(target, force=force), cure=_CURE)
    return ExportedForVerifier(target, sealed(parts.document), checks)


def _validate_target(target: Path, *, force: bool) -> None:
    validate_target(target, force=force, is_ours=folder.is_ours, wanted=_WANTED)


# Graphs, queries and document


def _content(weights: Chain, provenance: Provenance, question: Question) -> _Content:
    boxes = tuple(LatentBox.of_mass(mass, weights.dim) for mass in question.masses)
    metadata = _metadata(weights, provenance)
    graphs = {
        folder.GENERATOR: generator.build(weights, metadata=metadata),
        folder.WITH_LOG_PROB: generator.build(weights, with_log_prob=True, metadata=metadata),
    }
    asked = folder.GENERATOR
    if question.classifier is not None:
        asked = folder.MERGED
        graphs[asked] = merge.merge(graphs[folder.GENERATOR], question.classifier)
    outputs = merge.outputs_of(graphs[asked])
    claim = None if question.claim is None else Claim.parse(question.claim, outputs)
    queries, texts = {}, {}
    for entry in boxes:
        bounds = (-entry.bound,) * weights.dim, (entry.bound,) * weights.dim
        name = f"{entry.name}.vnnlib"
        queries[name] = Query(*bounds, weights.dim)
        texts[name] = vnnlib.write(queries[name], _remarks(entry, folder.GENERATOR))
        for name, case, cases in _asked(entry, claim):
            queries[name] = Query(*bounds, outputs, cases)
            texts[name] = vnnlib.write(queries[name], [*_remarks(entry, asked), *_meaning(claim, case)])
    return _Content(graphs, queries, texts, boxes, claim)


def _asked(entry: LatentBox, claim: Claim | None) -> list[tuple[str, str | None, tuple[vnnlib.Case, ...]]]:
    """Return file name, case name and cases of every query of a box: the whole query, then one case at a time."""
    if claim is None:
        return []
    stem = entry.name.replace("box", "query")
    single = [(f"{stem}-{n}.vnnlib", n, (case,)) for n, case in zip(claim.names, claim.cases, strict=True)]
    return [(f"{stem}.vnnlib", None, claim.cases), *(single if len(single) > 1 else [])]


def _remarks(entry: LatentBox, graph: str) -> list[str]:
    return [
        f"{graph}: |X_i| <= {entry.bound} for all i, mass {entry.mass!r} under N(0, I) in {entry.dim} dimensions",
        box.WORDS,
    ]


def _meaning(claim: Claim | None, case: str | None) -> list[str]:
    if claim is None:
        return []
    which = "" if case is None else f", case {case} of its negation alone"
    return [f"claim: {claim.text}{which}; sat is a counterexample, unsat a proof over the box"]


def _metadata(weights: Chain, provenance: Provenance) -> dict[str, str]:
    return {
        "lunet.family": weights.kind.name,
        "lunet.name": provenance.name,
        "lunet.direction": "generator",
        "lunet.dim": str(weights.dim),
        "lunet.blocks": str(len(weights.of(LU))),
        "lunet.alpha": repr(_kind(weights).alpha),
        "lunet.output": _output(weights),
        "lunet.sha256_weights": weights.digest(),
    }


def _output(weights: Chain) -> str:
    p = weights.preprocessing
    if p is None:
        return "x"
    return (
        f"h = logit(x) of each pixel, levels={p.levels} margin={p.margin!r}: the network's own input, since the way "
        "back to grey levels is not piecewise linear; it is monotone, so a bound of a pixel is a bound of its logit"
    )


def _document(
    weights: Chain, provenance: Provenance, content: _Content, drawn: Sequence[Share], held_out: HeldOut | None
) -> dict[str, Any]:
    """Return verifier.json, without hashes and checks."""
    graphs = {name.removesuffix(".onnx"): _graph(name, model) for name, model in content.graphs.items()}
    asked = folder.MERGED if folder.MERGED in content.graphs else folder.GENERATOR
    boxes = []
    for number, (entry, share) in enumerate(zip(content.boxes, drawn, strict=True)):
        found = {"monte_carlo": _share(share, entry.mass)}
        if held_out:
            found["held_out"] = {"data": held_out.data, **_share(held_out.shares[number], entry.mass)}
        file = f"{entry.name}.vnnlib"
        bound = {"bound": str(entry.bound), "mass_of_bound": entry.written_mass}
        boxes.append({"file": file, "mass": entry.mass, **bound, **found})
    queries = [
        {"file": name, "graph": asked, "mass": entry.mass, "case": case}
        for entry in content.boxes
        for name, case, _ in _asked(entry, content.claim)
    ]
    return {
        "format": folder.FORMAT,
        "format_version": folder.FORMAT_VERSION,
        "words": box.WORDS,
        "model": {
            "kind": weights.kind.name,
            "name": provenance.name,
            "dim": weights.dim,
            "blocks": len(weights.of(LU)),
            "activation": _kind(weights).activation,
            "slope": _kind(weights).alpha,
            "output": _output(weights),
            **provenance.shown,
            "source": provenance.source,
            "sha256_weights": weights.digest(),
        },
        "graphs": graphs,
        "boxes": boxes,
        "claim": content.claim and content.claim.text,
        "queries": queries,
        "versions": versions(),
        "provenance": provenance.document({"masses": [entry.mass for entry in content.boxes]}),
        "checks": [],
    }


def _graph(name: str, model: onnx.ModelProto) -> dict[str, Any]:
    return {
        "file": name,
        "input": model.graph.input[0].name,
        "output": model.graph.output[0].name,
        "outputs": merge.outputs_of(model),
        "operators": builder.operators(model),
        "opset": next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "ir_version": model.ir_version,
    }


def _share(share: Share, mass: float) -> dict[str, Any]:
    return {"rows": share.rows, "share": share.share, "standard_error": share.standard_error(mass)}


# Checks


def _validate_operators(path: Path, dim: int) -> None:
    """Raise unless verifiers can read the generator.

    Raises:
        CheckFailedError: if it has other operators, slopes outside (0, 1], or another opset, IR version or shape.
    """
    model = onnx.load_model_from_string(path.read_bytes())
    slopes = [helper.f for node in model.graph.node if node.op_type == "LeakyRelu" for helper in node.attribute]
    shapes = [
        [length.dim_value for length in entry.type.tensor_type.shape.dim]
        for entry in (*model.graph.input, *model.graph.output)
    ]
    for what, got, good in (
        (
            "Gemm and LeakyRelu alone",
            ", ".join(builder.operators(model)),
            set(builder.operators(model)) <= generator.OPERATORS,
        ),
        ("slopes in (0, 1]", str(slopes), all(0.0 < slope <= 1.0 for slope in slopes)),
        (
            f"opset {generator.OPSET}",
            str(model.opset_import[0].version),
            model.opset_import[0].version == generator.OPSET,
        ),
        (f"IR {builder.IR_VERSION}", str(model.ir_version), model.ir_version == builder.IR_VERSION),
        (f"shapes [1, {dim}]", str(shapes), shapes == [[1, dim], [1, dim]]),
    ):
        if not good:
            raise CheckFailedError(f"Expected a generator of {what}; got {got}. Nothing was written. {_CURE}")


def _drawn(entry: LatentBox) -> Share:
    """Return the share of draws of N(0, I) in a box. A correct box fails one set in 370; then a second set decides."""
    first = box.monte_carlo(entry, seed=0)
    return first if first.off(entry.mass) <= _STANDARD_ERRORS else box.monte_carlo(entry, seed=1)


def _of_boxes(boxes: Sequence[LatentBox], drawn: Sequence[Share]) -> list[Check]:
    checks = []
    for entry, share in zip(boxes, drawn, strict=True):
        allowed = np.array([_STANDARD_ERRORS * share.standard_error(entry.mass)])
        wanted = np.array([entry.mass])
        gap = compare("mass", expected=wanted, got=np.array([share.share]), tolerance=allowed)
        checks.append(Check(f"{entry.name}: Monte Carlo", gap, note=f"{share.rows} draws"))
        exact = compare("mass", expected=wanted, got=np.array([entry.written_mass]), tolerance=np.array([1e-12]))
        checks.append(Check(f"{entry.name}: closed form", exact))
    return checks


def _of_graphs(written: VerifierFolder, weights: Chain, question: Question, boxes: Sequence[LatentBox]) -> list[Check]:
    network = weights.without_preprocessing()
    z = _latents(weights.dim, boxes)
    tolerance = RoundingModel(network, "float32").sampling(z)
    expected = reference.decode(network, z)
    (x,) = _run(written.graphs[folder.GENERATOR], z, 1)
    again, log_prob = _run(written.graphs[folder.WITH_LOG_PROB], z, 2)
    nats = reference.log_prob(network, expected)
    checks = [
        Check("generator, x", compare("x", expected=expected, got=x, tolerance=tolerance["x"])),
        Check("generator with log_prob, x", compare("x", expected=expected, got=again, tolerance=tolerance["x"])),
        Check(
            "generator with log_prob, log_prob",
            compare("log_prob", expected=nats, got=log_prob.reshape(-1), tolerance=tolerance["log_prob"]),
        ),
    ]
    if question.classifier is None:
        return checks
    (y,) = _run(written.graphs[folder.MERGED], z, 1)
    apart = _classified(question.classifier, x)
    unit = np.finfo(np.float32).eps * np.maximum(1.0, np.abs(apart).max(axis=1))
    return [
        *checks,
        Check("merged = classifier of generator", compare("y", expected=apart, got=y, tolerance=16 * unit)),
    ]


def _latents(dim: int, boxes: Sequence[LatentBox]) -> Array:
    """Return rows of N(0, I), rows of each box and two corners of each, rounded to float32."""
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((_ROWS, dim))]
    for entry in boxes:
        c = float(entry.bound)
        rows += [rng.uniform(-c, c, (_ROWS, dim)), c * rng.choice([-1.0, 1.0], (2, dim))]
    return np.concatenate(rows).astype(np.float32).astype(np.float64)


def _run(model: bytes, z: Array, outputs: int) -> list[NDArray[np.floating]]:
    """Return the first outputs of a graph of batch 1 at every row, each (N, K)."""
    (session,), _ = providers.open_sessions([model], "cpu", threads=1)
    names = [entry.name for entry in session.get_outputs()][:outputs]
    (fed,) = session.get_inputs()
    shape = [length if isinstance(length, int) else 1 for length in fed.shape]
    rows = [providers.run(session, names, {fed.name: row.astype(np.float32).reshape(shape)}) for row in z]
    return [np.stack([np.asarray(row[k]).reshape(-1) for row in rows]) for k in range(len(names))]


def _classified(classifier: onnx.ModelProto, x: NDArray[np.floating]) -> Array:
    (y,) = _run(builder.serialize(classifier), x.astype(np.float64), 1)
    return y.astype(np.float64)


def _kind(weights: Chain) -> LUNet:
    assert isinstance(weights.kind, LUNet)
    return weights.kind
