"""Flows that the keys of their state alone determine; they are built with the library itself, and filled.

    nflows      `Flow` of a `CompositeTransform` of `LULinear` (with eps 1e-3, its default, which no state holds),
                permutations, `ActNorm` and `PointwiseAffineTransform`, on `StandardNormal` or `DiagonalNormal`
    normflows   `NormalizingFlow` of `LULinearPermute`, `Permute` with a shuffle, `InvertibleAffine`, `AffineConstFlow`
                and `ActNorm`, on `DiagGaussian`

A layer without tensors leaves no key, so a gap in the layer numbers is such a layer, and keys do not determine the
activations of networks: both need a factory. So does every flow of zuko, whose keys do not determine classes.
"""

import re
from collections.abc import Callable, Mapping
from importlib import import_module

import torch
from torch import Tensor

from lunet_export.errors import CheckpointError, MissingPackageError, brief
from lunet_export.importers.parts import Foreign
from lunet_export.installation import install

#: Tensors of layers that are single numbers.
_SCALARS = ("initialized", "data_dep_init_done", "_shift", "_scale")

State = Mapping[str, Tensor]
Tensors = dict[str, Tensor]


def beginning(library: str, where: str) -> str:
    """What the keys of the layers of a library's flows begin with.

    Raises:
        CheckpointError: if the keys do not determine its layers.
    """
    if library not in _LIBRARIES:
        raise CheckpointError(
            f"Expected module:factory and `state={where!r}`; the keys of a {library} state do not determine its layers."
        )
    return _LIBRARIES[library][0]


def flow(library: str, state: State, where: str) -> Foreign:
    """Return the library's own flow with this state.

    Args:
        library: Name of the library.
        state: Tensors by key.
        where: File of the state, for messages.

    Raises:
        CheckpointError: if the keys do not determine the flow.
        MissingPackageError: if the library is not installed.
    """
    prefix, kinds, whole = _LIBRARIES[library]
    layers = _by_layer(state, prefix)
    for number in range(max(layers, default=0) + 1):
        if frozenset(layers.get(number, {})) not in kinds:
            told = ", ".join(sorted(layers.get(number, {}))[:3]) or "none"
            raise _undetermined(library, where, f"for layer {number} they are {told}")
    for number, tensors in layers.items():
        if not _is_whole(tensors):
            raise _undetermined(library, where, f"the shapes of layer {number} do not fit each other")
    try:
        made = whole([_built(*kinds[frozenset(layers[number])], layers[number]) for number in sorted(layers)], state)
    except ModuleNotFoundError:
        raise MissingPackageError(f"Expected {library}; it is not installed. Run: {install(library)}") from None
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:  # errors of the library
        raise _undetermined(library, where, f"{library} rejects them: {brief(error)}") from None
    try:
        (made.double() if torch.float64 in {value.dtype for value in state.values()} else made).load_state_dict(state)
    except RuntimeError:
        raise _undetermined(library, where, "some keys or shapes do not fit the others") from None
    return made


def _is_whole(tensors: Tensors) -> bool:
    """Return whether a layer's tensors fit the one it is built by: a vector of n makes a matrix of n x n."""
    if any(value.ndim == 0 and not name.endswith(_SCALARS) for name, value in tensors.items()):
        return False
    names = {name.rpartition(".")[2]: value for name, value in tensors.items()}
    if "lower_entries" in names:
        entries = len(names["bias"]) * (len(names["bias"]) - 1) // 2
        return names["lower_entries"].numel() == names["upper_entries"].numel() == entries
    matrices = [names[name] for name in ("P", "W") if name in names]
    return all(matrix.shape == (len(matrix), len(matrix)) for matrix in matrices)


def _undetermined(library: str, where: str, told: str) -> CheckpointError:
    return CheckpointError(
        f"Expected keys in {where} that determine a flow of {library}; {told}. Give module:factory and "
        f"`state={where!r}`."
    )


def _by_layer(state: State, prefix: str) -> dict[int, Tensors]:
    found: dict[int, Tensors] = {}
    for key, value in state.items():
        match = re.fullmatch(re.escape(prefix) + r"(\d{1,6})\.(.+)", key)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    return found


def _built(name: str, arguments: Callable[[Tensors], tuple[Foreign, ...]], tensors: Tensors) -> Foreign:
    module, _, kind = name.rpartition(".")
    return getattr(import_module(module), kind)(*arguments(tensors))


def _flow_of_nflows(layers: list[Foreign], state: State) -> Foreign:
    from nflows.distributions import DiagonalNormal, StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform

    vectors = (".bias", "._permutation", ".shift", "._shift", "_distribution.mean_")
    dim = max(value.numel() for key, value in state.items() if key.endswith(vectors))
    base = DiagonalNormal if "_distribution.mean_" in state else StandardNormal
    return Flow(CompositeTransform(layers), base([dim]))


def _flow_of_normflows(layers: list[Foreign], state: State) -> Foreign:
    from normflows import NormalizingFlow
    from normflows.distributions import DiagGaussian

    return NormalizingFlow(DiagGaussian(state["q0.loc"].numel() if "q0.loc" in state else 1), layers)


Kinds = Mapping[frozenset[str], tuple[str, Callable[[Tensors], tuple[Foreign, ...]]]]

_NFLOWS: Kinds = {
    frozenset({"bias", "lower_entries", "upper_entries", "unconstrained_upper_diag"}): (
        "nflows.transforms.LULinear",
        lambda t: (len(t["bias"]),),
    ),
    frozenset({"_permutation"}): ("nflows.transforms.Permutation", lambda t: (t["_permutation"],)),
    frozenset({"log_scale", "shift", "initialized"}): ("nflows.transforms.ActNorm", lambda t: (len(t["shift"]),)),
    frozenset({"_shift", "_scale"}): (
        "nflows.transforms.PointwiseAffineTransform",
        lambda t: (t["_shift"], t["_scale"]),
    ),
}
_NORMFLOWS: Kinds = {
    frozenset(
        {"permutation._permutation"}
        | {f"linear.{name}" for name in ("bias", "lower_entries", "upper_entries", "unconstrained_upper_diag")}
    ): ("normflows.flows.LULinearPermute", lambda t: (len(t["linear.bias"]),)),
    frozenset({"perm", "inv_perm"}): ("normflows.flows.Permute", lambda t: (len(t["perm"]),)),
    frozenset({"P", "L", "sign_S", "log_S", "U", "eye"}): (
        "normflows.flows.InvertibleAffine",
        lambda t: (len(t["P"]), True),
    ),
    frozenset({"W"}): ("normflows.flows.InvertibleAffine", lambda t: (len(t["W"]), False)),
    frozenset({"s", "t"}): ("normflows.flows.AffineConstFlow", lambda t: (tuple(t["s"].shape[1:]),)),
    frozenset({"s", "t", "data_dep_init_done"}): ("normflows.flows.ActNorm", lambda t: (tuple(t["s"].shape[1:]),)),
}
#: For each library: prefix of its layers' keys, layers by the rest of their keys, and the function that makes the flow.
_LIBRARIES: dict[str, tuple[str, Kinds, Callable[[list[Foreign], State], Foreign]]] = {
    "nflows": ("_transform._transforms.", _NFLOWS, _flow_of_nflows),
    "normflows": ("flows.", _NORMFLOWS, _flow_of_normflows),
}
