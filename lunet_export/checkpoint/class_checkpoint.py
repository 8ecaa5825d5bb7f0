"""Model files with one network a class: written from the files of the classes, read whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_export import checkpoint
from lunet_export.checkpoint import CLASSES_FORMAT, Checkpoint
from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.flows.lunet import lunet_of
from lunet_export.layers import Chain
from lunet_export.preprocessing import Logit
from lunet_export.weights import Mixture

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ClassCheckpoint:
    """A file with one network a class, read."""

    mixture: Mixture[Chain]
    image_shape: tuple[int, ...] | None
    training: Mapping[str, Any]  # what `train --per-class` recorded of all classes together
    members: tuple[Checkpoint, ...]  # of each class: what was recorded of it, rows of it


def write(
    path: Path, members: Sequence[Path], *, names: Sequence[str], priors: Sequence[float], training: Mapping[str, Any]
) -> None:
    """Write one file of the classes' files. Their tensors are taken as they are; the file appears whole.

    Keys: format, format_version, names, priors, networks (of each class, what `checkpoint.write` writes), training.

    Raises:
        CheckpointError: A file of a class is missing or unreadable.
    """
    content = {
        "format": CLASSES_FORMAT,
        "format_version": FORMAT_VERSION,
        "names": list(names),
        "priors": list(priors),
        "networks": [checkpoint.load(member) for member in members],
        "training": dict(training),
    }
    checkpoint.save(content, path)


def read(path: Path) -> ClassCheckpoint:
    """Read a file with one network a class.

    Raises:
        CheckpointError: The file is missing, unreadable, of one network, or its classes do not fit together.
    """
    found = read_either(path)
    if isinstance(found, Checkpoint):
        raise CheckpointError(
            f"Expected a model with a network a class; {path} holds one network. Make one with: lunet-export train "
            "digits --per-class"
        )
    return found


def read_either(
    path: Path, *, latent_stats: Path | None = None, preprocessing: Logit | None = None
) -> Checkpoint | ClassCheckpoint:
    """Read a file of one network, as `checkpoint.read` does, or one with a network a class, which has no options.

    Raises:
        CheckpointError: As `checkpoint.read` and `read` do.
    """
    content = checkpoint.load(path)
    if content.get("format") != CLASSES_FORMAT:
        return checkpoint.parse(content, path, latent_stats=latent_stats, preprocessing=preprocessing)
    if latent_stats is not None or preprocessing is not None:
        raise CheckpointError(
            f"Expected neither --latent-stats nor --preprocess; {path} records its own. Leave it out."
        )
    return _classes(content, path)


def _classes(content: Mapping[str, Any], path: Path) -> ClassCheckpoint:
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
    if not all(isinstance(network, dict) and network.get("format") == checkpoint.FORMAT for network in networks):
        raise CheckpointError(f"Expected networks of lunet-export in {path}; got something else. Train it again.")
    members = tuple(checkpoint.parse(network, path) for network in networks)
    shapes = {member.image_shape for member in members}
    if len(shapes) > 1:
        raise CheckpointError(
            f"Expected images of one shape in {path}; got {len(shapes)}. Train the classes on one set."
        )
    try:
        networks = tuple(lunet_of(member.weights, "one network a class") for member in members)
        mixture = Mixture(networks, tuple(names), tuple(priors))
    except (CheckpointError, BadInputError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return ClassCheckpoint(mixture, members[0].image_shape, content["training"], members)
