"""Model files: our own `model.pt`, and the layout of the code released with arXiv 2302.10524."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from math import isfinite, prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.checkpoint import formats, latent_statistics, released, safetensors_file
from lunet_export.checkpoint.reading import load
from lunet_export.checkpoint.tensor_file import held
from lunet_export.columns import Names, read_names
from lunet_export.distribution import Distribution, Mixture
from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.files import whole_file
from lunet_export.flows import KINDS
from lunet_export.layers import LU, Chain
from lunet_export.preprocessing import Logit
from lunet_export.torch_layers import Flow

__all__ = ["Checkpoint", "load", "read", "save", "write", "write_checkpoint", "write_classes", "write_weights"]

FORMAT = "lunet_export.model"
CLASSES_FORMAT = "lunet_export.classes"  # format of files with one network per class
FORMAT_VERSION = 1
_SINCE_ACTIVATIONS = 2  # version of files that name an activation: readers of version 1 would assume leaky softplus
_SINCE_ALPHAS = 3  # version of files with an alpha per activation, which older readers do not look for
_SINCE_CONTEXTS = 4  # version of files of conditional flows: older readers would not know that they are conditional
_FIRST_FAMILY = "lunet"  # family of files that name none
_DEEPEST = 64  # nested blocks of a network: deeper files are made to exhaust the stack
_NO_WEIGHTS = ("training", "examples", "columns")  # keys of a file that hold no weights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Checkpoint:
    """A model file that was read: a flow or a mixture, what is known of the data, and a few rows of it."""

    model: Distribution
    kind: str  # `lunet_export`, `authors` or `authors-realnvp`
    image_shape: tuple[int, ...] | None = None
    training: Mapping[str, Any] | None = None  # what `train` recorded; for a mixture, of all classes together
    examples: Array | None = None  # rows of public data, (N, D); a mixture's lie in its members
    assumed: tuple[str, ...] = ()  # sentences: what was assumed without a file that proves it
    notes: tuple[str, ...] = ()  # sentences: what was left out of a file, and what else a user should know
    members: tuple["Checkpoint", ...] = ()  # for a mixture, the record of each class
    path: Path | None = None
    dtype: str = "float64"  # dtype of the tensors in the file
    columns: Names | None = None  # names of the columns of vectors, if they have any

    @property
    def weights(self) -> Chain:
        """The flow of a file with one network.

        Raises:
            CheckpointError: if the file holds a mixture.
        """
        if isinstance(self.model, Mixture):
            raise CheckpointError(
                f"Expected a model of one network; {self.path} holds one per class. "
                "Only export, check, inspect and classify take it; its classes' files are models of one network."
            )
        return self.model

    @property
    def mixture(self) -> Mixture[Chain]:
        """The mixture of a file with one network per class.

        Raises:
            CheckpointError: if the file holds one network.
        """
        if not isinstance(self.model, Mixture):
            raise CheckpointError(
                f"Expected a model with one network per class; {self.path} holds one network. Make one with: "
                "lunet-export train digits --per-class"
            )
        return self.model


def write(
    path: Path,
    flow: Flow,
    *,
    image_shape: tuple[int, ...] | None,
    training: Mapping[str, Any],
    examples: NDArray[np.floating] | None,
    columns: Names | None = None,
) -> None:
    """Write `model.pt`, a plain dictionary that `torch.load(weights_only=True)` accepts. The file appears whole.

    Keys: format, format_version (4 with a context, 3 with an alpha per activation, 2 if the settings name one, else 1),
        family, settings (dim, image_shape, and
    the settings of the kind), preprocessing (levels, margin) or None, training, examples, the entries that the kind
    packs; columns, a list of names, if there are any.
    """
    known = _Known(image_shape, training, examples, columns)
    save(_of_flow(flow.to_chain(), flow.like.dtype, known), path)


def write_classes(
    path: Path, members: Sequence[Path], *, names: Sequence[str], priors: Sequence[float], training: Mapping[str, Any]
) -> None:
    """Write one file from the files of the classes, flows of any kind. Their tensors are kept as they are.

    Keys: format, format_version, names, priors, networks (what `write` writes, per class), training.

    Raises:
        CheckpointError: if the file of a class is missing or unreadable.
    """
    save(_of_classes([load(member) for member in members], names, priors, training), path)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a flow or a mixture that was read, in its dtype: reading it again gives the same weights."""
    save(_content(checkpoint), path)


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    model, record = checkpoint.model, checkpoint.training or {}
    if not isinstance(model, Mixture):
        known = _Known(checkpoint.image_shape, record, checkpoint.examples, checkpoint.columns)
        return _of_flow(model, getattr(torch, checkpoint.dtype), known)
    members = checkpoint.members or [replace(checkpoint, model=flow, training=None) for flow in model.components]
    return _of_classes([_content(member) for member in members], model.names, model.priors, record)


def _of_classes(
    networks: Sequence[Mapping[str, Any]], names: Sequence[str], priors: Sequence[float], training: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "format": CLASSES_FORMAT,
        "format_version": FORMAT_VERSION,
        "names": list(names),
        "priors": list(priors),
        "networks": list(networks),
        "training": dict(training),
    }


def _finite(value: object) -> object:
    """Return what training recorded, with None for numbers that are not finite: readers refuse those, as JSON does."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def write_weights(
    path: Path,
    weights: Chain,
    *,
    image_shape: tuple[int, ...] | None,
    training: Mapping[str, Any],
    examples: NDArray[np.floating] | None,
    columns: Names | None = None,
) -> None:
    """Write a chain in float64, as `write` writes a flow.

    For an LU-Net the file holds log|u_ii|: an entry whose logarithm is not exact in float64 comes back a rounding away.
    """
    known = _Known(image_shape, training, examples, columns)
    save(_of_flow(weights, torch.float64, known), path)


class _Known(NamedTuple):
    """What is known of a model beside its weights."""

    image_shape: tuple[int, ...] | None
    training: Mapping[str, Any]
    examples: NDArray[np.floating] | None
    columns: Names | None


def _of_flow(chain: Chain, dtype: torch.dtype, known: _Known) -> dict[str, Any]:
    own, arrays = chain.kind.pack(chain)
    p, shape, examples = chain.preprocessing, known.image_shape, known.examples
    return {
        "format": FORMAT,
        "format_version": _version(chain, own),
        "family": chain.kind.name,
        "settings": {"dim": chain.dim, **own, "image_shape": list(shape) if shape else None},
        "preprocessing": {"levels": p.levels, "margin": p.margin} if p else None,
        **_tensors(arrays, dtype),
        "training": _finite(known.training),
        "examples": None if examples is None else torch.from_numpy(examples.astype(np.float32)),
        **({"columns": list(known.columns)} if known.columns else {}),
    }


def _version(chain: Chain, settings: Mapping[str, Any]) -> int:
    """Return the lowest version that a file of the chain with these settings can have."""
    if chain.context is not None:
        return _SINCE_CONTEXTS
    if settings.get("alpha", 0.0) is None:
        return _SINCE_ALPHAS
    return _SINCE_ACTIVATIONS if "activation" in settings else FORMAT_VERSION


def _tensors(value: object, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Return plain values with their arrays as tensors, floats in the dtype."""
    if isinstance(value, dict):
        return {key: _tensors(entry, dtype) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_tensors(entry, dtype) for entry in value]
    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.from_numpy(np.array(value))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _arrays(value: object, name: str, depth: int = 0) -> Any:  # noqa: ANN401
    """Return what a file holds under a name, with tensors as arrays, floats in float64.

    Raises:
        CheckpointError: if a tensor claims more numbers than there are, or has a dtype other than floats, int64 and
            bool; or if values are nested so deeply that the file was made to exhaust the stack.
    """
    if depth > 2 * _DEEPEST + 4:  # a block is a dictionary in a list; the first list is 4 deep
        raise CheckpointError(f"Expected networks of at most {_DEEPEST} blocks inside each other; got more.")
    if isinstance(value, dict):
        return {key: _arrays(entry, name, depth + 1) for key, entry in value.items()}
    if isinstance(value, list):
        return [_arrays(entry, name, depth + 1) for entry in value]
    if not isinstance(value, Tensor):
        return value
    if not value.is_floating_point() and value.dtype not in (torch.int64, torch.bool):
        raise CheckpointError(f"Expected {name} tensors of floats or int64; got {value.dtype}. Make the file again.")
    # Layers without inputs have matrices without columns.
    whole = (value if value.ndim and not value.numel() and not value.is_meta else held(value)).detach()
    return whole.double().numpy() if whole.is_floating_point() else whole.numpy()


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a file of `torch.save`, or of safetensors if its suffix says so, whole or not at all.

    The bytes are made in memory first: torch's own writer answers a full disk with a RuntimeError of its zip library.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(safetensors_file.bytes_of(content) if path.suffix == formats.SUFFIX else _bytes(content))


def _bytes(content: Mapping[str, Any]) -> memoryview:
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def read(path: Path, *, latent_stats: Path | None = None, preprocessing: Logit | None = None) -> Checkpoint:
    """Read our own model file, of a flow or a mixture, or the authors' `best.pth`.

    Args:
        path: Path of the model file.
        latent_stats: The authors' `best_stats.pth`, folded exactly into the last block. The statistics belong to the
            last epoch's network; they are refused if `best_inverse.pth` beside them holds another network than `path`.
        preprocessing: Pre-processing for the authors' files, which do not record theirs; None exports the network on
            its own input.

    Raises:
        CheckpointError: if the file is missing, unreadable, of another kind, or holds no invertible network, or classes
            that do not fit together; or if the statistics belong to another network.
    """
    content = load(path)
    if content.get("format") == CLASSES_FORMAT:
        if latent_stats is not None or preprocessing is not None:
            raise CheckpointError(
                f"Expected neither `latent_stats` nor `preprocess`; {path} records its own. Leave it out."
            )
        return _classes(content, path)
    if content.get("format") == FORMAT:
        if preprocessing is not None:
            raise CheckpointError(f"Expected no `preprocess`; {path} records its own. Leave it out.")
        checkpoint = _ours(content, path)
    else:
        found = released.read(content, path, preprocessing)
        checkpoint = Checkpoint(found.chain, found.kind, found.image_shape, notes=found.notes, path=path)
    return checkpoint if latent_stats is None else _folded(checkpoint, path, latent_stats)


def _classes(content: Mapping[str, Any], path: Path) -> Checkpoint:
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointError(
            f"Expected format version {FORMAT_VERSION} in {path}; got {brief(repr(version))}. "
            "Install the lunet-export that wrote it."
        )
    for key, kind in (("networks", list), ("names", list), ("priors", list), ("training", dict)):
        if not isinstance(content.get(key), kind):
            raise CheckpointError(f"Expected a whole model file; {key!r} is missing or wrong in {path}.")
    networks, names, priors = (content[key] for key in ("networks", "names", "priors"))
    if not all(isinstance(network, dict) and network.get("format") == FORMAT for network in networks):
        raise CheckpointError(f"Expected networks of lunet-export in {path}; got something else. Train it again.")
    members = tuple(_ours(network, path) for network in networks)
    shapes = {member.image_shape for member in members}
    if len(shapes) > 1:
        raise CheckpointError(
            f"Expected images of one shape in {path}; got {len(shapes)}. Train the classes on one data set."
        )
    if len({member.columns for member in members}) > 1:
        raise CheckpointError(
            f"Expected classes of the same columns in {path}; got several sets. Train them on one data set."
        )
    try:
        mixture = Mixture(tuple(member.weights for member in members), tuple(names), tuple(priors))
    except (CheckpointError, BadInputError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Checkpoint(
        mixture,
        "lunet_export",
        members[0].image_shape,
        content["training"],
        members=members,
        path=path,
        dtype=max(member.dtype for member in members),
        columns=members[0].columns,
    )


def _folded(checkpoint: Checkpoint, path: Path, latent_stats: Path) -> Checkpoint:
    """Return the model with the statistics in its last block, unless they are known to belong to another network.

    The record of the training is left out: it was measured before the folding.
    """
    mean, covariance = latent_statistics.read(latent_stats)
    weights = checkpoint.weights
    assumed: tuple[str, ...] = ()
    if not latent_statistics.proven(latent_stats, path, weights.of(LU)):
        assumed = (
            f"Assumed that {latent_stats.name} holds the latents of {path.name}: no readable "
            f"{latent_statistics.inverse_beside(latent_stats).name} beside it shows which network they belong to. "
            "The released code computes them with the last epoch's, last.pth.",
        )
    folded = weights.fold_latent(mean, covariance)
    return replace(checkpoint, model=folded, training=None, assumed=assumed)


def _ours(content: Mapping[str, Any], path: Path) -> Checkpoint:
    version = content.get("format_version")
    if type(version) is not int or not FORMAT_VERSION <= version <= _SINCE_CONTEXTS:
        raise CheckpointError(
            f"Expected format version {FORMAT_VERSION}, {_SINCE_ACTIVATIONS}, {_SINCE_ALPHAS} or {_SINCE_CONTEXTS} in "
            f"{path}; got {brief(repr(version))}. "
            "Install the lunet-export that wrote it."
        )
    name = content.get("family", _FIRST_FAMILY)
    if not isinstance(name, str) or name not in KINDS:
        raise CheckpointError(
            f"Expected a model of {', '.join(KINDS)} in {path}; got {brief(repr(name))}. Train it again."
        )
    try:
        dim, shape, p = content["settings"]["dim"], content["settings"]["image_shape"], content["preprocessing"]
        if type(dim) is not int:
            raise ValueError("settings, dim")
        preprocessing = None if p is None else Logit(p["levels"], p["margin"])
        training = _plain(content["training"])
        own = {key: _arrays(value, key) for key, value in content.items() if key not in _NO_WEIGHTS}
        weights = KINDS[name].unpack(own, preprocessing)
        examples, image_shape = _examples(content["examples"], dim), _image_shape(shape, dim)
        columns = read_names(content.get("columns"), dim, "columns")
    except _MALFORMED as error:
        raise CheckpointError(
            f"Expected a whole model file; {brief(error, 200)} is missing or wrong in {path}."
        ) from None
    except (BadInputError, CheckpointError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Checkpoint(
        weights,
        "lunet_export",
        image_shape,
        training,
        examples,
        path=path,
        dtype=_dtype({**content, "examples": None}),
        columns=columns,
    )


def _dtype(content: object) -> str:
    """Return the dtype of the float tensors: float32 if none is float64."""
    if isinstance(content, Mapping):
        content = list(content.values())
    if isinstance(content, Tensor):
        return "float64" if content.dtype == torch.float64 else "float32"
    return max(map(_dtype, content), default="float32") if isinstance(content, list) else "float32"


#: Errors of reading a dictionary that is not a valid model.
_MALFORMED = (LookupError, TypeError, AttributeError, RuntimeError, ValueError, ArithmeticError)


def _plain(training: object) -> dict[str, object]:
    """Return what training recorded if JSON can hold it, since it becomes part of a manifest.

    Raises:
        TypeError, ValueError: if JSON cannot hold it.
    """
    if not isinstance(training, dict):
        raise ValueError("training")
    json.dumps(training, allow_nan=False)
    return training


def _examples(examples: Tensor | None, dim: int) -> Array | None:
    """Return rows of data.

    Raises:
        ValueError: if the rows are not (N, D) finite real numbers; a wrong type raises errors of its own.
    """
    if examples is None:
        return None
    if examples.is_complex():
        raise ValueError("examples")
    rows = held(examples).detach().double().numpy()
    if rows.ndim != 2 or rows.shape[1] != dim or not np.isfinite(rows).all():
        raise ValueError("examples")
    return rows


def _image_shape(shape: Iterable[int] | None, dim: int) -> tuple[int, ...] | None:
    """Return height, width and channels of D numbers.

    Raises:
        ValueError: if they are not whole numbers whose product is D; a wrong type raises errors of its own.
    """
    if shape is None:
        return None
    found = tuple(shape)
    if (
        not all(type(length) is int and length > 0 for length in found)
        or prod(found) != dim
        or not 2 <= len(found) <= 3
    ):
        raise ValueError("image_shape")
    return found
