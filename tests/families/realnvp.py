"""RealNVPs for the common tests, with factors that are not 0 and norms that are not 1 folded in."""

from dataclasses import replace

import torch

from lunet_export.layers import Chain, Coupling, DenseCoupling
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.coupling import AffineCoupling, FlowNorm
from lunet_export.training.realnvp import networks


def disturbed(flow: Flow, *, seed: int = 0) -> Flow:
    """The flow in float64 with couplings away from the identity and norms that have seen rows."""
    rng = torch.Generator().manual_seed(seed)

    def draw(parameter: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)

    flow = flow.double()
    with torch.no_grad():
        for parameter in flow.parameters():
            if parameter.ndim > 1:
                parameter.copy_(draw(parameter, parameter[0].numel() ** -0.5))
        for coupling in flow.modules_of(AffineCoupling):
            for parameter in (coupling.scale_factor, coupling.shift_factor, coupling.bias):
                parameter.copy_(draw(parameter, 0.3))
        for layer in flow.chain:
            if isinstance(layer, FlowNorm):
                layer.mean.copy_(draw(layer.mean, 0.3))
                layer.variance.copy_((0.3 * draw(layer.variance, 1.0)).exp())
    return flow.eval()


def dense(dim: int, hidden: int, *, couplings: int = 6, preprocessing: str = "none") -> Chain:
    """A dense network."""
    torch.manual_seed(0)
    flow = networks.dense(dim, hidden=hidden, couplings=couplings, preprocessing=NAMED[preprocessing])
    return disturbed(flow).to_chain()


def convolutional(side: int, planes: int, *, preprocessing: str = "digits") -> Chain:
    """A convolutional network of square images."""
    torch.manual_seed(0)
    flow = networks.convolutional((side, side), planes=planes, preprocessing=NAMED[preprocessing])
    return disturbed(flow).to_chain()


NETWORKS = {
    "dense, plane": lambda: dense(2, 8),
    "dense, odd width": lambda: dense(7, 5),
    "dense, one coupling": lambda: dense(4, 6, couplings=1),
    "dense, digits": lambda: dense(64, 20, preprocessing="digits"),
    "convolutional, digits": lambda: convolutional(4, 3),
    "convolutional, vectors": lambda: convolutional(6, 2, preprocessing="none"),
}
PLANE = NETWORKS["dense, plane"]
FACTS = {"kind": "realnvp", "couplings": 6, "networks": "dense"}


def smallest() -> Chain:
    """Two couplings, for a compiler: each half of the columns changes once."""
    return dense(2, 8, couplings=2)


def changed(weights: Chain) -> Chain:
    """The same network with one array of a network moved by 1e-3 of itself."""
    number, first = next((k, layer) for k, layer in enumerate(weights.layers) if isinstance(layer, Coupling))
    if isinstance(first, DenseCoupling):
        (matrix, bias), *others = first.net.layers
        moved = replace(first, net=replace(first.net, layers=((matrix * (1 + 1e-3), bias), *others)))
    else:
        s, t = first.nets
        moved = replace(first, nets=(replace(s, last=s.last * (1 + 1e-3)), t))
    layers = (*weights.layers[:number], moved, *weights.layers[number + 1 :])
    return replace(weights, layers=layers)
