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
from lunet_export.checkpoint.states import Layout, nearest, of_one
from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.importers import states
from lunet_export.importers.parts import Foreign

OnNote = Callable[[str], None]
State = Mapping[str, Tensor]

_WHAT, _CURE = "a state_dict", "Write it with: torch.save(flow.state_dict(), FILE)"


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


def filled(flow: Foreign, path: Path, *, on_note: OnNote = lambda sentence: None) -> Foreign:
    """Load the state in a file into the flow; all its keys must be the flow's own.

    Only the state is taken of a training loop's file, without what wrappers put before its keys; `on_note` is told so.
    A state in float64 makes the flow float64.

    Raises:
        BadInputError: if the flow is no module.
        CheckpointError: if the file cannot be read, or holds the state of something else, or several such states.
    """
    if not isinstance(flow, nn.Module):
        raise BadInputError(f"Expected a module to load {path} into; the factory gave a {type(flow).__name__}.")
    own = flow.state_dict()
    first = next(iter(own), "")
    layout = Layout(type(flow).__name__, lambda key: key == first, lambda keys: own.keys())
    state = _state_of(path, layout, on_note)
    if told := layout.difference(state):
        raise CheckpointError(
            f"Expected the {len(own)} keys of the factory's {layout.title} in {path}; it {told}. Give the factory that "
            "made this state."
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


def of_state(library: str, path: Path, *, on_note: OnNote = lambda sentence: None) -> Foreign:
    """Return the flow whose state a file holds, if its keys alone determine it; `filled` explains `on_note`.

    Raises:
        CheckpointError: if they do not.
    """
    begin = states.beginning(library, str(path))
    layout = Layout(library, lambda key: key.startswith(begin), lambda keys: keys)
    return states.flow(library, _state_of(path, layout, on_note), str(path))


def _state_of(path: Path, layout: Layout, on_note: OnNote) -> State:
    """Return the tensors by key in a file, in that layout if they are somewhere.

    Raises:
        CheckpointError: if the file cannot be read, or holds no state, or several in that layout.
    """
    content = checkpoint.load(path, what=_WHAT, cure=_CURE)
    found = of_one(content, path, layout) or nearest(content, layout)
    if found is None:
        raise CheckpointError(
            f"Expected a state_dict in {path}; got {brief(', '.join(map(str, content))) or 'nothing'}. "
            "Save flow.state_dict()."
        )
    for sentence in found.note(path):
        on_note(sentence)
    return {key: _whole(key, value, path) for key, value in found.tensors.items()}


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
