"""What every graph run needs: the check that it is the graph that the manifest describes, and batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lunet_export.artifact import Manifest
from lunet_export.errors import ArtifactError, OverflowingRowsError
from lunet_export.runtime.rows import LARGEST_BATCH, computing

if TYPE_CHECKING:
    import onnxruntime

Floats = NDArray[np.floating]
#: Names of the inputs and of the outputs.
Ends = tuple[list[str], list[str]]


def validate_graph(
    session: "onnxruntime.InferenceSession",
    name: str,
    manifest: Manifest,
    *,
    ends: Ends,
    widths: Mapping[str, int],
    said: Mapping[str, str],
) -> None:
    """Raise an error unless the graph's own metadata and tensors are what the manifest says.

    Args:
        session: Session of the graph.
        name: Name of the graph.
        manifest: Manifest of the folder.
        ends: Names of its inputs and outputs.
        widths: Number of columns of tensors that are not dim wide; 0 for one number per row.
        said: Entries of the graph's metadata that the manifest knows, beside those of every graph.

    Raises:
        ArtifactError: if the graph is another one.
    """
    p = manifest.preprocessing
    wanted = {
        "lunet.direction": name,
        "lunet.dim": str(manifest.dim),
        "lunet.dtype": manifest.dtype,
        "lunet.products": manifest.products,
        "lunet.preprocessing": f"logit levels={p.levels} margin={p.margin!r}" if p else "none",
        **said,
    }

    def shape(tensor: str) -> list[str | int]:
        if tensor == "shape":
            return [2]
        width = widths.get(tensor, manifest.dim)
        rows = "contexts" if tensor == "context" else "batch"  # one context per row of the batch, or one for all
        return [rows, width] if width else [rows]

    try:
        metadata = session.get_modelmeta().custom_metadata_map
        found = (session.get_inputs(), session.get_outputs())
        fits = tuple([tensor.name for tensor in end] for end in found) == ends
        fits = fits and all(tensor.shape == shape(tensor.name) for end in found for tensor in end)
    except UnicodeDecodeError:  # malformed text in the metadata
        metadata, fits = {}, False
    if not fits or any(metadata.get(key) != value for key, value in wanted.items()):
        raise ArtifactError(f"Expected {name}.onnx as the manifest describes it; it is another graph.")


def in_batches(
    run: Callable[[Mapping[str, Floats]], Sequence[Floats]],
    fed: Mapping[str, Floats],
    empty: Callable[[], Sequence[Floats]],
) -> tuple[Floats, ...]:
    """Return what `run` makes of rows, in batches that the graphs take; what `empty` makes of no rows.

    Args:
        run: Function of the inputs of one batch, by name.
        fed: Inputs by name: the rows first, then others of as many rows, or of one row that belongs to all.
        empty: Function that returns the answers of no rows.

    Raises:
        OutOfMemoryError: if there is no memory for the answers.
    """
    n = len(next(iter(fed.values())))
    if not n:
        return tuple(empty())
    with computing(f"the answers of {n} rows"):
        batches = (slice(start, start + LARGEST_BATCH) for start in range(0, n, LARGEST_BATCH))
        parts = [
            run({name: rows if len(rows) != n else np.ascontiguousarray(rows[batch]) for name, rows in fed.items()})
            for batch in batches
        ]
        return tuple(parts[0]) if len(parts) == 1 else tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def finite(answers: tuple[Floats, ...]) -> tuple[Floats, ...]:
    """Return the answers of a graph, (N,) or (N, K) each, if they are finite: finite rows can overflow inside a graph.

    Raises:
        OverflowingRowsError: if an answer is NaN or infinite.
    """
    if not all(np.isfinite(answer).all() for answer in answers):
        validate_no_overflow(~np.logical_and.reduce([finite_rows(answer) for answer in answers]), answers)
    return answers


def finite_rows(answer: Floats) -> NDArray[np.bool_]:
    """Return for every row of (N,) or (N, K) whether all its numbers are finite, (N,)."""
    good = np.isfinite(answer)
    return good if answer.ndim == 1 else np.logical_and.reduce(good, axis=1)


def validate_no_overflow(bad: NDArray[np.bool_], answers: tuple[Floats, ...]) -> None:
    """Raise an error if a row is bad, (N,), in the answers of a graph.

    Raises:
        OverflowingRowsError: if a row is bad.
    """
    if bad.any():
        raise OverflowingRowsError(bad, answers)
