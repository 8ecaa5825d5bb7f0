"""Errors about files that hold no model: what the file is instead, and what to do with it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lunet_export.checkpoint import states
from lunet_export.checkpoint.states import Layout
from lunet_export.errors import CheckpointError, brief

#: Patterns of the keys of other libraries.
_OTHERS = {
    "FrEIA": re.compile(r"(^|\.)module_list\.\d+\."),
    "nflows": re.compile(r"(^|\.)_transform\._transforms\.\d"),
    "normflows": re.compile(r"(^|\.)flows\.\d+\.|(^|\.)q0\."),
    "zuko": re.compile(r"(^|\.)transform\.transforms\.\d"),
}
_INVERSE = re.compile(r"(^|\.)lu_layers\.\d+\.")
_OF_A_FLOW = re.compile(r"(^|\.)chain\.bijections\.\d")
_WANTED = "Expected a model of lunet-export or the authors' best.pth"


def validate_not_companion(content: Mapping[Any, Any], path: Path) -> None:
    """Raise an error if a file is one of those that lie beside a model.

    Raises:
        CheckpointError: if the file holds the reverse matrices, latent statistics or the state of a training.
    """
    keys = {str(key) for key in content}
    if any(map(_INVERSE.search, keys)):
        raise CheckpointError(
            f"Expected the density direction; {path} is the authors' best_inverse.pth, which holds the last epoch's "
            "matrices in reverse order, not the best epoch's and no inverses. Export best.pth: its inverse is exact."
        )
    if keys == {"latent_mean", "latent_covariance"}:
        raise CheckpointError(
            f"Expected a model; {path} holds latent statistics, which the released code computes with the last "
            f"epoch's network. Give last.pth with `latent_stats={str(path)!r}`"
        )
    if {"model", "settings"} <= keys:
        model = path.with_name(path.name.replace(".resume.pt", ".pt"))
        raise CheckpointError(
            f"Expected a model; {path} is a resume file, from which training resumes. "
            f"Give {model if model != path else 'the model'} beside it."
        )


def no_model(content: Mapping[Any, Any], path: Path, layouts: Sequence[Layout]) -> CheckpointError:
    """Return the error about a file without a whole network.

    Args:
        content: Content of the file.
        path: Path of the file.
        layouts: Layouts of the networks that the file could have held.
    """
    for layout in layouts:
        state = states.nearest(content, layout)
        if state is not None and any(map(layout.known, state.tensors)):
            inside = f", {state.where}" if state.place or state.prefix else ""
            return CheckpointError(
                f"Expected the keys of a whole {layout.title} of the released code in {path}{inside}; "
                f"it {layout.difference(state.tensors)}. Save model.state_dict() of it alone."
            )
    keys = [key for state in states.dictionaries(content) for key in state.tensors]
    if not keys:
        names = brief(", ".join(map(str, content))) or "nothing"
        return CheckpointError(f"{_WANTED}; {path} holds no tensors, but {names}. Save model.state_dict().")
    if any(map(_OF_A_FLOW.search, keys)):
        return CheckpointError(
            f"{_WANTED}; {path} is the state of a Flow of lunet-export, which tells neither its activations nor "
            "its pre-processing. Load it into that Flow, and save the Flow: lunet_export.save(flow, 'model.pt')"
        )
    first = brief(", ".join(keys[:3]))
    library = next((name for name, pattern in _OTHERS.items() if any(map(pattern.search, keys))), None)
    if library is not None:
        return CheckpointError(
            f"{_WANTED}; the keys of {path} are neither, but look like those of {library} (first: {first}). Give them "
            f"with your function that builds the flow: lunet-export import {library} MODULE:FUNCTION --state {path}"
        )
    return CheckpointError(
        f"{_WANTED}; the keys of {path} are neither (first: {first}). "
        "Import flows of FrEIA, glasflow, nflows, normflows, sbi and zuko with: lunet-export import"
    )
