"""Sources of an object to import: a factory in the user's own module, a state to load into its flow, or a state alone.

The factory is the user's own code and is run; a state is never run (`torch.load(weights_only=True)`).
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from lunet_export import checkpoint
from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.importers import states
from lunet_export.importers.parts import Foreign

#: Names under which training loops save a state beside other entries.
NESTED = ("state_dict", "model_state_dict", "model", "flow", "net", "weights")

State = Mapping[str, Tensor]


def made(factory: str, folder: Path) -> Foreign:
    """Return what `module:factory` gives; the module is looked for in `folder`, then where Python finds any.

    Raises:
        BadInputError: if there is no such module or factory, or one raises an error.
    """
    module, _, name = factory.partition(":")
    if not module or not name:
        raise BadInputError(f"Expected module:factory; got {factory}. Write the module as Python imports it.")
    with _found_from(folder):
        found: Foreign = _attempted(f"the module {module}", lambda: import_module(module))
        for step in name.split("."):
            if not hasattr(found, step):
                raise BadInputError(f"Expected {name} in the module {module}; it has none. Check the name.")
            found = getattr(found, step)
        if isinstance(found, nn.Module) or not callable(found):
            return found
        return _attempted(f"the factory {factory}", found)


def filled(flow: Foreign, path: Path) -> Foreign:
    """Load the state in a file into the flow; all its keys must be the flow's own.

    A state in float64 makes the flow float64.

    Raises:
        BadInputError: if the flow is no module.
        CheckpointError: if the file cannot be read, or holds the state of something else.
    """
    if not isinstance(flow, nn.Module):
        raise BadInputError(f"Expected a module to load {path} into; the factory gave a {type(flow).__name__}.")
    state = state_of(path)
    own = flow.state_dict()
    missing, odd = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or odd:
        told = [f"{kind} {', '.join(keys[:3])}" for kind, keys in (("lacks", missing), ("has", odd)) if keys]
        raise CheckpointError(
            f"Expected the {len(own)} keys of the factory's {type(flow).__name__} in {path}; it {' and '.join(told)}"
            f"{' and others' if max(len(missing), len(odd)) > 3 else ''}. Give the factory that made this state."
        )
    for key, value in own.items():
        if value.shape != state[key].shape:
            raise CheckpointError(
                f"Expected {key} of shape {tuple(value.shape)}, as the factory's is; {path} has "
                f"{tuple(state[key].shape)}. Give the factory that made this state."
            )
    floats = [value.dtype for value in state.values() if value.is_floating_point()]
    if torch.float64 in floats:
        flow.double()
    flow.load_state_dict(state)
    return flow


def of_state(library: str, path: Path) -> Foreign:
    """Return the flow whose state a file holds, if its keys alone determine it; see `states`.

    Raises:
        CheckpointError: if they do not.
    """
    return states.flow(library, state_of(path), str(path))


def state_of(path: Path) -> State:
    """Return the tensors in a file by key, also those of a training loop's dictionary.

    Raises:
        CheckpointError: if the file cannot be read, or holds no state.
    """
    content = checkpoint.load(path, what="a state_dict", cure="Write it with: torch.save(flow.state_dict(), FILE)")
    for candidate in (content, *(content[name] for name in NESTED if name in content)):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            return {str(key): _whole(str(key), value, path) for key, value in candidate.items()}
    raise CheckpointError(
        f"Expected a state_dict in {path}, alone or under one of {', '.join(NESTED)}; got "
        f"{brief(', '.join(map(str, content))) or 'nothing'}. Save flow.state_dict()."
    )


def _whole(key: str, value: Tensor, path: Path) -> Tensor:
    """Return the tensor if the file holds all its numbers: the flow that is built for it is as large as it claims."""
    held = value.untyped_storage().nbytes()
    if held < value.numel() * value.itemsize:
        raise CheckpointError(
            f"Expected tensors whose numbers are in {path}; {brief(key)} claims {tuple(value.shape)} and holds {held} "
            "bytes."
        )
    return value


@contextmanager
def _found_from(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's own code may have removed it
            sys.path.remove(str(folder))


def _attempted(what: str, run: Callable[[], Foreign]) -> Foreign:
    try:
        return run()
    except (Exception, SystemExit) as error:  # the user's own code may raise anything, or exit
        said = (str(error).splitlines() or [""])[0][:200]
        raise BadInputError(f"Expected {what} to run; it raised {type(error).__name__}: {said}.") from error
