"""`certify`: bounds for any two rows, values at some rows, and whether what is observed stays within the bounds."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.certificate import Bounds, Linearization, LocalRows, chain_bounds, data_bounds
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.data import Dataset
from lunet_export.diagnostics import rows as data_rows
from lunet_export.diagnostics.observed import Observed, Seen, observe
from lunet_export.errors import BadInputError
from lunet_export.flows import LUNet
from lunet_export.layers import Chain, Context
from lunet_export.preprocessing import Logit, logit
from lunet_export.runtime import ExportedFlow

Array = NDArray[np.float64]

_NEAR = 1e-3  # share of the way to another row, for close rows
_OF_FLOAT64 = 1e-11  # share of 1 + |z|, far above float64's rounding


@dataclass(frozen=True)
class Spread:
    """This is the smallest, median and largest of some values."""

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: Array) -> "Spread":
        """Return the spread of values (N,)."""
        return cls(float(values.min()), float(np.median(values)), float(values.max()))


@dataclass(frozen=True)
class Local:
    """These are singular values of the Jacobian at rows of data, and the norm of x -> z -> x minus x.

    stretch is s_max and squeeze s_min, in data space and behind the pre-processing (network_*). round_trip is predicted
    for the runtime; `measured` is the runtime's own on the same rows, and `share` the largest measured / predicted.
    Both are None if no graph ran.
    """

    rows: int
    network_stretch: Spread
    network_squeeze: Spread
    stretch: Spread
    squeeze: Spread
    round_trip: Spread
    converged: bool
    measured: Spread | None = None
    share: float | None = None


@dataclass(frozen=True)
class Certified:
    """This is what `certify` found for `network`, the map behind the pre-processing, and for `data`, the whole map.

    Of a conditional flow both are for two rows of one context, any of the `contexts` that the rows have.
    """

    rows: int
    rows_of: str
    seed: int
    dtype: str  # dtype of the runtime whose round trip is predicted or measured
    network: Bounds | None
    data: Bounds | None
    local: Local | None
    local_of: str
    round_trip: Spread | None  # measured on the rows
    observed_network: Observed
    observed_data: Observed
    not_available: dict[str, str]  # reasons by what is missing
    contexts: int | None = None  # number of different contexts; None for a flow that takes none

    @property
    def violations(self) -> tuple[str, ...]:
        """Return sentences about what violates a certified bound."""
        return tuple(dict.fromkeys((*self.observed_network.violations, *self.observed_data.violations)))

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        document = asdict(self)
        if self.contexts is None:
            document.pop("contexts")
        return document | {"violations": list(self.violations)}


def certify_model(
    weights: Chain,
    dataset: Dataset | None,
    *,
    rows: int,
    seed: int,
    context: Array | None = None,
    on_rows: Callable[[int], None] = lambda n: None,
) -> Certified:
    """Certify a model in float64; the round trip is predicted for float32.

    The bounds of a conditional flow are those for the contexts of the rows.

    Args:
        weights: The model.
        dataset: Data set whose test rows are used; None takes samples of the model.
        rows: Largest number of rows.
        seed: Random seed of the dequantization noise, or of the samples.
        context: Contexts of samples of a conditional flow, (rows, C), (1, C) or (C,); rows of data have their own.
        on_rows: Function called with the number of rows after each batch.

    Raises:
        BadInputError: if the stretch of some layer is not bounded, or contexts of samples are missing or do not fit.
        DataError: if the rows are of another kind than the model's.
    """
    p = weights.preprocessing
    if dataset is None:
        z = noise.normal(seed, range(rows), weights.dim)
        x = RoundingModel(weights, "float64").clamp(reference.decode(weights, z, context))
        contexts = None if weights.context is None else weights.context.matched(context, rows)
        rows_of = "samples of the model"
    else:
        x, contexts = _test_rows(dataset, p, weights.dim, weights.context, rows, seed)
        rows_of = f"test rows of {dataset.name}"
    chain = chain_bounds(weights, contexts)
    if chain is None:
        raise BadInputError(
            f"Expected layers whose stretch is bounded to certify; {_unbounded(weights, contexts)} has no bound. "
            "Give an LU-Net, or LU layers with activations between them."
        )
    data = data_bounds(weights, chain)
    local = LocalRows.of(Linearization(weights), x, dtype="float32", context=contexts, on_rows=on_rows)
    near = x + _NEAR * (np.roll(x, 1, axis=0) - x)
    both = np.stack([x, near], axis=1).reshape(-1, weights.dim)  # row 2 i + 1 is close to row 2 i
    of_both = None if contexts is None else np.repeat(contexts, 2, axis=0)
    z, log_det = reference.encode(weights, both, of_both)
    lost = _OF_FLOAT64 * (1 + float(np.abs(z).max()))
    return Certified(
        rows=len(x),
        rows_of=rows_of,
        seed=seed,
        dtype="float32",
        network=chain,
        data=data,
        local=_local(local, None),
        local_of=rows_of,
        round_trip=None,
        **_observed(Seen(both, z, log_det, lost, lost, of_both), p, chain, data),
        not_available={"measured round trip": "nothing was run in float32; give an exported folder"},
        contexts=_number_of(contexts),
    )


def _unbounded(weights: Chain, contexts: Array | None) -> str:
    """Return where the first layer without bounds stands."""
    x = np.zeros((1 if contexts is None else len(contexts), weights.dim))
    for number, layer in enumerate(weights.given(contexts, len(x))):
        if layer.linearised(x) is None or layer.stretch(weights.dim) is None:
            return weights.kind.place(weights, number)
    raise AssertionError("every layer has bounds")


def certify_folder(
    flow: ExportedFlow, dataset: Dataset | None, *, rows: int, seed: int, context: Array | None = None
) -> Certified:
    """Return the certificate in the manifest, beside what the graphs compute.

    The folder of a conditional flow has no certificate, since its bounds depend on the context.

    Args:
        flow: The exported folder.
        dataset: Data set whose test rows are used; None takes samples of the folder.
        rows: Largest number of rows.
        seed: Random seed of the dequantization noise, or of the samples.
        context: Contexts of samples of a conditional flow, (rows, C), (1, C) or (C,); rows of data have their own.

    Raises:
        BadInputError: if contexts of samples are missing or do not fit.
        ArtifactError: if the certificate does not fit the test vectors.
        DataError: if the rows are of another kind than the model's.
    """
    p, certificate = flow.manifest.preprocessing, flow.manifest.certificate
    if dataset is None:
        x, rows_of = flow.sample(rows, seed=seed, context=context).astype(np.float64), "samples of the folder"
        contexts = None if flow.context is None else flow.context.matched(context, rows)
    else:
        x, contexts = _test_rows(dataset, p, flow.dim, flow.context, rows, seed)
        rows_of = f"test rows of {dataset.name}"
    x = x.astype(flow.dtype).astype(np.float64)
    x = np.minimum(x, np.nextafter(flow.dtype.type(p.levels), flow.dtype.type(0))) if p else x
    missing = {"stretch, squeeze and prediction of these rows": "the graphs have no Jacobian; give the model file"}
    if certificate is None:
        older = "the folder is older than certificates; export again"
        others = "some layer's stretch has no bound, or the folder is older than certificates"
        missing["certificate"] = older if flow.manifest.kind is LUNet else others
        if flow.context is not None:
            missing["certificate"] = "the bounds depend on the context; give the model file, with contexts"
    z, log_prob = (values.astype(np.float64) for values in flow.density(x, context=contexts))
    log_det = log_prob - reference.standard_normal_log_prob(z)
    lost, lost_log_det = _lost(flow, z)
    golden = flow.artifact.round_trip
    network, data = (certificate.network, certificate.data) if certificate else (None, None)
    return Certified(
        rows=len(x),
        rows_of=rows_of,
        seed=seed,
        dtype=str(flow.manifest.document["products"]),
        network=network,
        data=data,
        local=None if certificate is None or golden is None else _local(certificate.rows, _measured(flow, None)),
        local_of="test vectors of the folder",
        round_trip=Spread.of(_measured(flow, x, contexts)),
        **_observed(Seen(x, z, log_det, lost, lost_log_det, contexts), p, network, data),
        not_available=missing,
        contexts=_number_of(contexts),
    )


def _test_rows(
    dataset: Dataset, p: Logit | None, dim: int, context: Context | None, rows: int, seed: int
) -> tuple[Array, Array | None]:
    """Return the first test rows in data space, and their contexts."""
    data_rows.validate_rows(dataset, p, dim, context)
    part = dataset.part("test")[:rows]
    batches = data_rows.over_batches(
        lambda x, _: x, dataset, part, seed=seed, draw=data_rows.TEST, on_rows=lambda n: None
    )
    return np.concatenate(list(batches)), part.contexts


def _measured(flow: ExportedFlow, x: Array | None, contexts: Array | None = None) -> Array:
    """Return |f^-1(f(x)) - x| in the folder's graphs, (N,); x are the density vectors if no rows are given."""
    x = flow.artifact.vectors.density.x if x is None else x
    back = flow.decode(flow.encode(x, context=contexts), context=contexts)
    return np.linalg.norm(back.astype(np.float64) - x, axis=1)


def _number_of(contexts: Array | None) -> int | None:
    return None if contexts is None else len(np.unique(contexts, axis=0))


def _lost(flow: ExportedFlow, z: Array) -> tuple[float, float]:
    """Return what rounding may change in |z - z'| and in a log_det: twice the largest tolerance of the test vectors.

    Tolerances are for single numbers, so a row's norm gets sqrt(D) of them; rows of larger z get proportionally more.
    """
    golden = flow.vectors.density
    grown = max(1.0, float(np.abs(z).max()) / float(np.abs(golden.z).max()))
    of_z = 2 * grown * float(golden.tolerance["z"].max()) * np.sqrt(flow.dim)
    of_log_det = grown * float(golden.tolerance["log_prob"].max()) + of_z * float(np.linalg.norm(z, axis=1).max())
    return of_z, of_log_det


def _local(rows: LocalRows, measured: Array | None) -> Local:
    return Local(
        rows=len(rows.round_trip),
        network_stretch=Spread.of(rows.network_stretch),
        network_squeeze=Spread.of(rows.network_squeeze),
        stretch=Spread.of(rows.stretch),
        squeeze=Spread.of(rows.squeeze),
        round_trip=Spread.of(rows.round_trip),
        converged=rows.converged,
        measured=None if measured is None else Spread.of(measured),
        share=None if measured is None else float((measured / rows.round_trip).max()),
    )


def _observed(seen: Seen, p: Logit | None, network: Bounds | None, data: Bounds | None) -> dict[str, Observed]:
    whole = observe(seen, data, "data")
    if p is None:
        return {"observed_network": whole, "observed_data": whole}
    h, before = logit(seen.start, p)
    behind = observe(replace(seen, start=h, log_det=seen.log_det - before), network, "network")
    return {"observed_network": behind, "observed_data": whole}
