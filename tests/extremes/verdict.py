"""What becomes of a case: right within the derived tolerance, or refused with a sentence. Anything else is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lunet_export import ExportedFlow, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import LunetExportError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.flows import LUNet
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.emulation import EmulatedFlow
from lunet_export.layers import LU
from lunet_export.torch_layers import EagerFlow

Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model that is extreme in one way, and how it is exported."""

    make: Callable[[], Any]  # the weights
    settings: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False  # ask the graph alone, and no other runner


@dataclass
class Verdict:
    """What was done for a case."""

    refused: str = ""  # the sentence that refused the model or its export; empty: it was exported
    right: dict[str, float] = field(default_factory=dict)  # largest |got - exact| / tolerance, by what was asked
    refused_rows: dict[str, str] = field(default_factory=dict)  # the sentence, by what was asked
    wrong: dict[str, str] = field(default_factory=dict)  # neither
    unjudged: list[str] = field(default_factory=list)  # float64 itself overflows in the reference
    digits: float = np.inf  # that the graphs keep of a usual row

    @property
    def outcome(self) -> str:
        """`right`, `refused` or `wrong`."""
        return "wrong" if self.wrong else "refused" if self.refused else "right"


def assess(case: Case, folder: Path) -> Verdict:
    """Make the model, export it, ask every runner about every kind of row."""
    verdict, settings = Verdict(), ExportSettings(**case.settings)
    try:
        weights = case.make()
        export(weights, folder, Provenance("extreme"), settings)
    except LunetExportError as error:
        verdict.refused = str(error)
        return verdict
    flow = ExportedFlow(folder, provider="cpu")
    ask(verdict, weights, flow, "graph", settings, data_rows(weights, settings.tensors), latent_rows(weights, settings))
    usual = {name: {"usual": kinds["usual"]} for name, kinds in _usual(weights, settings).items()}
    for name, runner, products in () if case.alone else others(weights, settings):
        slack = logarithms(weights) if name == "PyTorch" else 1.0
        ask(verdict, weights, runner, name, settings, usual["x"], usual["z"], products, slack)
    verdict.digits = digits(flow)
    return verdict


def logarithms(weights: Any) -> float:
    """How much more PyTorch may be off: it holds log|u_ii| of LU-Net, and rounds it, as many times u of u_ii."""
    if not isinstance(weights.kind, LUNet):
        return 1.0
    return max(1.0, *(float(np.abs(np.log(np.abs(np.diag(block.upper)))).max()) for block in weights.of(LU)))


def digits(flow: ExportedFlow) -> float:
    """Decimal digits that the middle row of the test vectors keeps, of the worst of its answers."""
    density, sampling = flow.vectors.density, flow.vectors.sampling
    sizes = {"z": density.z, "log_prob": density.log_prob[:, None], "x": sampling.x}
    worst = np.inf
    for name, values in sizes.items():
        tolerance = (sampling if name == "x" else density).tolerance[name]
        size = np.maximum(np.abs(values).max(axis=1), 1.0 if name == "log_prob" else 0.0)
        worst = min(worst, float(-np.log10(np.median(tolerance / size))))
    return worst


def others(weights: Any, settings: ExportSettings) -> list[tuple[str, Any, str | None]]:
    """Other runners of the same model: eager PyTorch, and what a GPU makes of the graphs in float16 and TF32."""
    found: list[tuple[str, Any, str | None]] = [("PyTorch", EagerFlow(weights, settings.tensors), settings.products)]
    blueprint = Blueprint.choose(weights, settings)
    graphs = {name: blueprint.build(name, {}) for name in ("density", "sampling")}
    if settings.products:
        found.append(("float16 products", EmulatedFlow(graphs, "float32"), settings.products))
    elif settings.dtype == "float32":
        found += [(mode, EmulatedFlow(graphs, mode), "tf32") for mode in ("TF32 nearest", "TF32 truncated")]
    return found


def ask(
    verdict: Verdict,
    weights: Any,
    runner: Any,
    name: str,
    settings: ExportSettings,
    x: Rows,
    z: Rows,
    products: str | None = None,
    slack: float = 1.0,
) -> None:
    """Both directions of one runner, on rows by their kind."""
    model = RoundingModel(weights, settings.tensors, products or settings.products)
    directions: list[tuple[str, Rows, Callable, Callable, Callable]] = [
        ("density", x, runner.density, lambda rows: _density(weights, rows), model.density),
        (
            "sampling",
            z,
            lambda rows: (runner.decode(rows),),
            lambda rows: (model.clamp(reference.decode(weights, rows)),),
            model.sampling,
        ),
    ]
    for direction, kinds, call, judge_of, tolerances in directions:
        with np.errstate(all="ignore"):
            together = np.concatenate(list(kinds.values()))
            exact, allowed = judge_of(together), tolerances(together)
        ends = np.cumsum([len(given) for given in kinds.values()])[:-1]
        names = ("z", "log_prob") if direction == "density" else ("x",)
        wanted = [np.split(array, ends) for array in exact]
        bounds = [np.split(slack * allowed[output], ends) for output in names]
        for number, (kind, given) in enumerate(kinds.items()):
            parts = {output: (wanted[k][number], bounds[k][number]) for k, output in enumerate(names)}
            _answer(verdict, f"{name}, {direction}, {kind}", call, given, parts)


def _density(weights: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, log_det = reference.encode(weights, x)
    return z, reference.standard_normal_log_prob(z) + log_det


#: Kinds of rows that must be refused, and what the sentence must say.
MUST = {"one nan": "row 1", "one inf": "row 1", "one -inf": "row 1", "outside": "row 0"}


def _answer(
    verdict: Verdict, what: str, call: Callable, given: np.ndarray, parts: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    must = MUST.get(what.rpartition(", ")[2])
    try:
        with np.errstate(all="ignore"):
            answers = call(given)
    except LunetExportError as error:
        verdict.refused_rows[what] = str(error)
        if must and must not in str(error):
            verdict.wrong[what] = f"refused without the number of the row: {error}"
        return
    if must:
        verdict.wrong[what] = "answered"
        return
    for (name, (wanted, bound)), got in zip(parts.items(), answers, strict=True):
        place = f"{what}: {name}"
        if not np.isfinite(got).all():
            verdict.wrong[place] = f"{np.count_nonzero(~np.isfinite(got))} of {got.size} are no finite numbers"
            continue
        tolerance = np.broadcast_to(bound.reshape(-1, *[1] * (wanted.ndim - 1)), wanted.shape)
        known = np.isfinite(wanted) & np.isfinite(tolerance)
        if not known.all():
            verdict.unjudged.append(place)
        gap = np.where(known, np.abs(got.astype(np.float64) - wanted), 0.0)
        share = np.divide(gap, tolerance, out=np.where(gap > 0, np.inf, 0.0), where=known & (tolerance > 0))
        worst = float(share.max(initial=0.0))
        if worst > 1:
            at = np.unravel_index(np.argmax(share), share.shape)
            verdict.wrong[place] = f"off by {worst:.2g} of the tolerance: {got[at]!r} for {wanted[at]!r}"
        else:
            verdict.right[place] = worst


def _usual(weights: Any, settings: ExportSettings) -> dict[str, Rows]:
    return {"x": data_rows(weights, settings.tensors), "z": latent_rows(weights, settings)}


def data_rows(weights: Any, dtype: str) -> Rows:
    """Rows of the model, and rows from the ends of the dtype; of a bounded domain, its ends and what is outside."""
    model = RoundingModel(weights, dtype)
    with np.errstate(all="ignore"):
        usual = model.clamp(_rounded(reference.decode(weights, noise.normal(1, range(4), weights.dim)), dtype))
    p, domain = weights.preprocessing, weights.domain
    if p:
        top = float(np.nextafter(np.dtype(dtype).type(p.levels), np.dtype(dtype).type(0)))
        ends = np.stack([np.zeros(weights.dim), np.full(weights.dim, top)])
        return {"usual": usual, "ends": ends, "outside": np.full((1, weights.dim), float(p.levels)), **_nowhere(usual)}
    if domain:
        ends = np.stack([end.astype(np.float64) for end in domain.ends(np.dtype(dtype))])
        outside = np.where(np.isfinite(domain.low), domain.low - 1, domain.high + 1)[None]
        return {"usual": usual, "ends": np.clip(ends, -1e3, 1e3), "outside": outside, **_nowhere(usual)}
    return {"usual": usual, **_scales(weights.dim, dtype), **_nowhere(usual)}


def latent_rows(weights: Any, settings: ExportSettings) -> Rows:
    """Normal numbers, and rows from the ends of the dtype."""
    dtype = settings.tensors
    usual = _rounded(noise.normal(2, range(4), weights.dim), dtype)
    return {"usual": usual, **_scales(weights.dim, dtype), **_nowhere(usual)}


def _scales(dim: int, dtype: str) -> Rows:
    signs = np.sign(noise.normal(3, range(2), dim))
    limits = np.finfo(dtype)
    sizes = {
        "zeros": 0.0,
        "denormal": float(limits.smallest_subnormal),
        "tiny": float(limits.tiny),
        "1e-10": 1e-10,
        "1e4": 1e4,
        "1e10": 1e10,
        "root of the largest": float(limits.max) ** 0.5,
        "largest": float(limits.max),
    }
    return {name: _rounded(size * signs, dtype) for name, size in sizes.items()}


def _nowhere(usual: np.ndarray) -> Rows:
    found = {}
    for value in (np.nan, np.inf, -np.inf):
        found[f"one {value}"] = usual.copy()
        found[f"one {value}"][1, -1] = value
    return found


def _rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(dtype).astype(np.float64)
