"""Checks that only a GPU can pass or fail: CUDA against the CPU, replays against launches, rows that stay there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.vector_file import given
from lunet_export.parity.checks import Check, density_of_sampled
from lunet_export.parity.difference import Difference, compare
from lunet_export.runtime import ExportedFlow

Floats = NDArray[np.floating]
#: Rows a call at which replays are compared with launches.
DEVICE_BATCHES = (1, 7, 64, 256)


def run_device(flow: ExportedFlow, host: ExportedFlow) -> list[Check]:
    """Checks of one export on CUDA, on the rows of its test vectors.

    Args:
        flow: On CUDA, every kernel launched.
        host: The same export on the CPU.
    """
    return _named([*_against_host(flow, host), *_resident(flow)])


def run_replays(flow: ExportedFlow, captured: ExportedFlow, *, batches: Sequence[int] = DEVICE_BATCHES) -> list[Check]:
    """Replayed CUDA graphs against the same flow with its kernels launched.

    Args:
        flow: On CUDA, every kernel launched.
        captured: The same with `cuda_graph`.
        batches: Rows a call; two calls each, with other rows, so that a stale replay shows.
    """
    return _named(
        [*_written(flow, captured), *(check for batch in batches for check in _replayed(flow, captured, batch))]
    )


def not_captured(reason: str) -> Check:
    """The failed check of a device that would not capture a graph."""
    nothing = compare("x", expected=np.zeros(1), got=np.zeros(0), tolerance=np.zeros(1))
    return Check("device: captured as a CUDA graph", nothing, note=reason)


def _named(checks: Sequence[Check]) -> list[Check]:
    return [Check(f"device: {check.name}", check.difference) for check in checks]


def _against_host(flow: ExportedFlow, host: ExportedFlow) -> list[Check]:
    """Each is within its tolerance of the reference, so they are within the sum of both of each other."""
    ours, theirs = _all(flow, slice(None), slice(None)), _all(host, slice(None), slice(None))
    allowed = _tolerances(flow, host)
    return [
        Check(f"CUDA = CPU, {name}", compare(name, expected=theirs[name], got=ours[name], tolerance=allowed[name]))
        for name in ours
    ]


def _tolerances(flow: ExportedFlow, host: ExportedFlow) -> dict[str, Floats]:
    pairs = {
        "z": (flow.vectors.density.tolerance["z"], host.vectors.density.tolerance["z"]),
        "log_prob": (flow.vectors.density.tolerance["log_prob"], host.vectors.density.tolerance["log_prob"]),
        "x": (flow.vectors.sampling.tolerance["x"], host.vectors.sampling.tolerance["x"]),
    }
    return {name: ours + theirs for name, (ours, theirs) in pairs.items()}


def _resident(flow: ExportedFlow) -> list[Check]:
    """Rows bound on the device give what NumPy rows give."""
    density, sampling = flow.vectors.density, flow.vectors.sampling
    z, log_prob = flow.on_device.density(density.x, **given(density))
    x_there = flow.on_device.decode(sampling.z, **given(sampling))
    again, _ = flow.on_device.density(x_there, **given(sampling))  # x never leaves the device
    x = flow.decode(sampling.z, **given(sampling))
    gaps = {
        "log_prob": compare(
            "log_prob",
            expected=flow.log_prob(density.x, **given(density)),
            got=log_prob.numpy(),
            tolerance=density.tolerance["log_prob"],
        ),
        "z": compare(
            "z",
            expected=flow.encode(density.x, **given(density)),
            got=z.numpy(),
            tolerance=density.tolerance["z"],
        ),
        "x, then z": compare(
            "z",
            expected=density_of_sampled(flow, x, **given(sampling))[0],
            got=again.numpy(),
            tolerance=sampling.tolerance["z"],
        ),
    }
    return [Check(f"on the device = through the host, {name}", gap) for name, gap in gaps.items()]


def _written(flow: ExportedFlow, captured: ExportedFlow) -> list[Check]:
    """Rows that are written where the graph reads."""
    sampling = flow.vectors.sampling
    fed = {"z": sampling.z, **given(sampling)}
    there = {name: captured.on_device.input("sampling", len(sampling.z), tensor=name) for name in fed}
    for name, array in there.items():
        array.ortvalue.update_inplace(fed[name].astype(flow.dtype))
    got = captured.on_device.decode(**there).numpy()
    gap = compare("x", expected=flow.decode(**fed), got=got, tolerance=sampling.tolerance["x"])
    return [Check("replayed from rows written in place = launched, x", gap)]


def _replayed(flow: ExportedFlow, captured: ExportedFlow, batch: int) -> list[Check]:
    density, sampling = flow.vectors.density, flow.vectors.sampling
    worst: dict[str, Difference] = {}
    for turn in (0, 1):  # the second finds a graph that was captured with other rows
        rows = _cycled(np.arange(len(density.x)), batch, turn)
        latents = _cycled(np.arange(len(sampling.z)), batch, turn)
        launched = _all(flow, rows, latents)
        replayed = _all(captured, rows, latents)
        allowed = {
            "z": density.tolerance["z"][rows],
            "log_prob": density.tolerance["log_prob"][rows],
            "x": sampling.tolerance["x"][latents],
        }
        for name, expected in launched.items():
            of_vectors = latents if name == "x" else rows
            gap = compare(name, expected=expected, got=replayed[name], tolerance=allowed[name], numbers=of_vectors)
            worst[name] = max(worst.get(name, gap), gap, key=lambda difference: difference.ratio)
    return [Check(f"replayed = launched, batch {batch}, {name}", gap) for name, gap in worst.items()]


def _cycled(rows: NDArray[np.intp], batch: int, turn: int) -> NDArray[np.intp]:
    return np.resize(np.roll(rows, -turn), batch)


def _all(flow: ExportedFlow, rows: Any, latents: Any) -> dict[str, Floats]:  # noqa: ANN401
    """The answers for these rows of the density's vectors and of the sampling's."""
    density, sampling = flow.vectors.density, flow.vectors.sampling
    encoded, log_prob = flow.density(density.x[rows], **given(density, rows))
    x = flow.decode(sampling.z[latents], **given(sampling, latents))
    return {"z": encoded, "log_prob": log_prob, "x": x}
