"""Are exported conditional flows right and fast, and what does a context cost?

The flows are those of `given`, and an LU-Net that `train` made of the same rows. Each is exported once and compared
with its library's own float64 answers at 100 contexts (the LU-Net with the reference). Then 1, 100 and 10,000 rows
that share one context are scored and drawn by the export, by the library in eager PyTorch and by `torch.compile` of it,
NumPy arrays in and out, interleaved. Grouped rows compare `log_prob(x, context=c).sum()` and `sample(n, context=c)` of
10,000 rows with the same calls of an unconditional flow of the same layers. `python -m benchmarks.contexts` writes
results/contexts.json.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lunet_export
from benchmarks import given, report
from benchmarks.given import Peer
from lunet_export import ExportedFlow, importers
from lunet_export.bench import Measurement, interleaved
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.flows import LUNet, lunet
from lunet_export.layers import LU, Activation, Chain

Floats = NDArray[np.floating]

BATCHES = (1, 100, 10_000)
CONTEXTS, GROUPED, TARGET = 100, 10_000, 1.15
OURS, EAGER, COMPILED = "export", "eager", "compiled"
LU_NET = "LU-Net"
_EPOCHS = 10  # of the LU-Nets, whose time does not depend on their weights


def main() -> None:
    """Measure, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=2.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    document = {"machine": report.machine(options.threads), **measure(options.seconds, options.threads)}
    report.write(options.output / "contexts.json", document)
    for table in (rows(document), grouped_rows(document)):
        report.table(table)


def measure(seconds: float, threads: int) -> dict[str, Any]:
    """Return everything that the results hold."""
    flows = []
    for name, make in given.PEERS.items():
        report.progress(f"{name}: training")
        flows.append(_of_peer(name, given.seeded(make), seconds, threads))
    report.progress(f"{LU_NET}: training")
    flows.append(_of_lu_net(seconds, threads))
    return {"flows": flows, "grouped": list(_grouped(seconds, threads))}


def _of_peer(name: str, peer: Peer, seconds: float, threads: int) -> dict[str, Any]:
    weights = importers.read(peer.flow).weights
    x, c = (part[:CONTEXTS].astype(np.float64) for part in (peer.rows, peer.contexts))
    z = np.random.default_rng(0).standard_normal(x.shape)
    wanted = peer.in_float64(x, c), peer.in_float64(z, c, sampling=True)
    runners = {EAGER: on_arrays(peer, lambda call: call), COMPILED: on_arrays(peer, _compiled)}
    return _measured(name, weights, (x, z, c), wanted, runners, seconds, threads)


def _of_lu_net(seconds: float, threads: int) -> dict[str, Any]:
    weights = _lu_net()
    x, c = (part[:CONTEXTS].astype(np.float64) for part in given.simulate(1000, seed=1))
    z = np.random.default_rng(0).standard_normal(x.shape)
    wanted = reference.log_prob(weights, x, c), reference.decode(weights, z, c)
    return _measured(LU_NET, weights, (x, z, c), wanted, {}, seconds, threads)


def _lu_net(*, conditional: bool = True) -> Chain:
    """Return the LU-Net of theta given x, or its layers without those that take x."""
    theta, x = given.simulate(4000, seed=0)
    found = lunet_export.train(theta, context=x, epochs=_EPOCHS, fallback=False, progress=False).distribution
    assert isinstance(found, Chain)
    assert isinstance(found.kind, LUNet)
    if conditional:
        return found
    alphas = [each.alpha for each in found.of(Activation)] if found.kind.alpha is None else found.kind.alpha
    return lunet(found.of(LU), alphas, found.preprocessing, found.kind.activation)


def _compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    torch.compiler.reset()  # it stops after eight shapes of one function
    return torch.compile(call, dynamic=False)


def on_arrays(peer: Peer, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return functions that make the library's two directions on NumPy arrays, by name.

    Args:
        peer: The library's flow.
        wrapped: What is done to each direction first, such as compiling it.
    """

    def of(function: Callable[..., Any]) -> Callable[..., Any]:
        own = wrapped(lambda rows, contexts: function(peer.flow, rows, contexts))

        @torch.no_grad()
        def call(rows: Floats, contexts: Floats) -> Floats:
            return own(torch.from_numpy(rows), torch.from_numpy(contexts)).numpy()

        return call

    return {"density": partial(of, peer.log_prob), "sampling": partial(of, peer.decode)}


def _measured(
    name: str,
    weights: Chain,
    fed: tuple[Floats, Floats, Floats],
    wanted: tuple[Floats, Floats],
    runners: dict[str, dict[str, Callable[..., Any]]],
    seconds: float,
    threads: int,
) -> dict[str, Any]:
    """Return the comparison at 100 contexts in both dtypes, then the times in float32."""
    flow, facts = compared(weights, fed, wanted, threads)
    return {"name": name, **facts, "times": list(_timed(name, flow, runners, fed, seconds))}


def compared(
    weights: Chain, fed: tuple[Floats, Floats, Floats | None], wanted: tuple[Floats, Floats], threads: int
) -> tuple[ExportedFlow, dict[str, Any]]:
    """Return the flow in float32, and how far it is in both dtypes from what is wanted.

    Args:
        weights: The flow.
        fed: Rows, latents, and contexts (N, C) unless the flow takes none.
        wanted: The library's own answers in float64: log p of the rows, and the rows of the latents.
        threads: CPU threads.
    """
    x, z, c = fed
    gaps: dict[str, Any] = {}
    for dtype in ("float64", "float32"):
        flow = opened(weights, dtype, threads)
        found = flow.log_prob(x, context=c), flow.decode(z, context=c)
        model, cast = RoundingModel(weights, dtype), [_rounded(part, dtype) for part in fed]
        allowed = model.density(cast[0], cast[2])["log_prob"], model.sampling(cast[1], cast[2])["x"][:, None]
        gaps[dtype] = [_gap(*pair) for pair in zip(found, wanted, strict=True)]
        # The rows that the library sees are float64: rounding them belongs to the difference.
        exact = reference.log_prob(weights, cast[0], cast[2]), reference.decode(weights, cast[1], cast[2])
        gaps[f"{dtype} of the tolerance"] = [
            float((np.abs(got - true) / tolerance).max())
            for got, true, tolerance in zip(found, exact, allowed, strict=True)
        ]
    nodes = {graph: entry["nodes"] for graph, entry in flow.manifest.document["graphs"].items()}
    return flow, {"dim": weights.dim, "context": 0 if c is None else c.shape[1], "nodes": nodes, **gaps}


def _rounded(rows: Floats | None, dtype: str) -> Any:  # noqa: ANN401
    return None if rows is None else rows.astype(dtype).astype(np.float64)


def gaps_of(found: Floats, wanted: Floats) -> Floats:
    """Return the largest |found - wanted| / max(1, |wanted|) of each row."""
    return (np.abs(found - wanted) / np.maximum(1, np.abs(wanted))).reshape(len(found), -1).max(axis=1)


def _gap(found: Floats, wanted: Floats) -> float:
    return float(gaps_of(found, wanted).max())


def _timed(
    name: str, flow: ExportedFlow, runners: dict[str, Any], fed: tuple[Floats, Floats, Floats], seconds: float
) -> Iterator[dict[str, Any]]:
    x, z, c = (part.astype(np.float32) for part in fed)
    context = c[:1].copy()
    ours = {"density": flow.log_prob, "sampling": flow.decode}
    for batch in BATCHES:
        for direction, entering in (("density", x), ("sampling", z)):
            report.progress(f"{name}: {direction}, batch {batch}")
            part = np.resize(entering, (batch, entering.shape[1]))
            answer = ours[direction](part, context=context)
            cases: dict[str, Callable[[], Any]] = {OURS: partial(ours[direction], part, context=context)}
            left_out = {}
            for runner, directions in runners.items():
                call = partial(directions[direction](), part, context)
                try:
                    with warnings.catch_warnings(action="ignore"):
                        other = call()
                except Exception as error:
                    left_out[runner] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
                    continue
                assert _gap(answer, other) < 1e-2, (name, direction, runner)  # another flow would be far off
                cases[runner] = call
            found = interleaved(cases, seconds=seconds)
            yield {
                "direction": direction,
                "batch": batch,
                **{case: report.times(time) for case, time in found.items()},
                "faster": {case: time.times(found[OURS]) for case, time in found.items() if case != OURS},
                "left_out": left_out,
            }


def _grouped(seconds: float, threads: int) -> Iterator[dict[str, Any]]:
    """Yield what one context for 10,000 rows costs, beside an unconditional flow of the same layers."""
    pairs: dict[str, Callable[[bool], Chain]] = {
        LU_NET: lambda conditional: _lu_net(conditional=conditional),
        "zuko MAF": lambda conditional: _weights(given.zuko_flow, conditional=conditional),
        "nflows MAF": lambda conditional: _weights(given.nflows_maf, conditional=conditional),
    }
    theta, observed = given.simulate(GROUPED, seed=2)
    context = observed[0]
    for name, make in pairs.items():
        report.progress(f"{name}: grouped rows")
        conditional, plain = (opened(make(kind), "float32", threads) for kind in (True, False))
        calls: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "log_prob": (
                lambda flow=conditional: flow.log_prob(theta, context=context).sum(),
                lambda flow=plain: flow.log_prob(theta).sum(),
            ),
            "sample": (
                lambda flow=conditional: flow.sample(GROUPED, seed=0, context=context),
                lambda flow=plain: flow.sample(GROUPED, seed=0),
            ),
            "decode": (
                lambda flow=conditional: flow.decode(theta, context=context),
                lambda flow=plain: flow.decode(theta),
            ),
        }
        for call, (given_one, without) in calls.items():
            with _quiet():
                found: dict[str, Measurement] = interleaved(
                    {"conditional": given_one, "unconditional": without}, seconds=seconds
                )
            yield {
                "name": name,
                "call": call,
                **{case: report.times(time) for case, time in found.items()},
                "ratio": found["conditional"].times(found["unconditional"]),
            }


def _weights(make: Callable[..., Peer], *, conditional: bool) -> Chain:
    return importers.read(given.seeded(partial(make, conditional=conditional)).flow).weights


def opened(weights: Chain, dtype: str, threads: int) -> ExportedFlow:
    """Return the export of a flow, opened on the CPU."""
    return ExportedFlow(
        build_artifact(weights, Provenance("given"), ExportSettings(dtype=dtype)), provider="cpu", threads=threads
    )


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(action="ignore"):  # rows of another distribution than the model's
        yield


def rows(document: dict[str, Any]) -> list[list[str]]:
    """Return the table of parity and speed: a line per flow and direction."""
    head = ["flow and direction", "float64", "of the float32 tolerance", "nodes"]
    head += [f"{batch:,} rows, ms" for batch in BATCHES] + ["eager takes, times", "compiled takes, times"]
    found = [head]
    for flow in document["flows"]:
        for place, direction in enumerate(("density", "sampling")):
            times = [entry for entry in flow["times"] if entry["direction"] == direction]
            others = [
                ", ".join(f"{entry['faster'][runner]:.1f}" if runner in entry["faster"] else "-" for entry in times)
                for runner in (EAGER, COMPILED)
            ]
            found.append(
                [
                    f"{flow['name']}, {direction}",
                    f"{flow['float64'][place]:.0e}",
                    f"{flow['float32 of the tolerance'][place]:.2f}",
                    str(flow["nodes"][direction]),
                    *(f"{entry[OURS]['p50']:.3f}" for entry in times),
                    *others,
                ]
            )
    return found


def grouped_rows(document: dict[str, Any]) -> list[list[str]]:
    """Return the table of grouped rows: a line per flow and call."""
    head = ["10,000 rows of one context", "conditional, ms", "unconditional, ms", "ratio", f"target {TARGET}"]
    return [
        head,
        *(
            [
                f"{entry['name']}, {entry['call']}",
                f"{entry['conditional']['p50']:.2f}",
                f"{entry['unconditional']['p50']:.2f}",
                f"{entry['ratio']:.2f}",
                "met" if entry["ratio"] <= TARGET else "missed",
            ]
            for entry in document["grouped"]
        ),
    ]


if __name__ == "__main__":
    main()
