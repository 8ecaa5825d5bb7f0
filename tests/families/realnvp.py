"""RealNVPs for the common tests, with factors that are not 0 and norms that are not 1 folded in."""

from dataclasses import replace

import torch

from lunet_export.families.realnvp.bijections import FlowNorm
from lunet_export.families.realnvp.flow import RealNVP
from lunet_export.families.realnvp.weights import Coupling, DenseNet, RealNVPWeights
from lunet_export.preprocessing import NAMED


def disturbed(flow: RealNVP, *, seed: int = 0) -> RealNVP:
    """The flow in float64 with couplings away from the identity and norms that have seen rows."""
    rng = torch.Generator().manual_seed(seed)

    def draw(parameter: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)

    flow = flow.double()
    with torch.no_grad():
        for parameter in flow.parameters():
            if parameter.ndim > 1:
                parameter.copy_(draw(parameter, parameter[0].numel() ** -0.5))
        for coupling in flow.couplings():
            for parameter in (coupling.scale_factor, coupling.shift_factor, coupling.bias):
                parameter.copy_(draw(parameter, 0.3))
        for layer in flow.chain.bijections:
            if isinstance(layer, FlowNorm):
                layer.mean.copy_(draw(layer.mean, 0.3))
                layer.variance.copy_((0.3 * draw(layer.variance, 1.0)).exp())
    return flow.eval()


def dense(dim: int, hidden: int, *, couplings: int = 6, preprocessing: str = "none") -> RealNVPWeights:
    """A dense network."""
    torch.manual_seed(0)
    flow = RealNVP.dense(dim, hidden=hidden, couplings=couplings, preprocessing=NAMED[preprocessing])
    return disturbed(flow).to_weights()


def convolutional(side: int, planes: int, *, preprocessing: str = "digits") -> RealNVPWeights:
    """A convolutional network of square images."""
    torch.manual_seed(0)
    flow = RealNVP.convolutional((side, side), planes=planes, preprocessing=NAMED[preprocessing])
    return disturbed(flow).to_weights()


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


def smallest() -> RealNVPWeights:
    """Two couplings, for a compiler: each half of the columns changes once."""
    return dense(2, 8, couplings=2)


def changed(weights: RealNVPWeights) -> RealNVPWeights:
    """The same network with one array of a network moved by 1e-3 of itself."""
    number, first = next((k, layer) for k, layer in enumerate(weights.layers) if isinstance(layer, Coupling))
    net = first.nets[0]
    if isinstance(net, DenseNet):
        (matrix, bias), *others = net.layers
        moved = DenseNet(((matrix * (1 + 1e-3), bias), *others))
        nets = (moved,)
    else:
        nets = (replace(net, last=net.last * (1 + 1e-3)), first.nets[1])
    layers = (*weights.layers[:number], replace(first, nets=nets), *weights.layers[number + 1 :])
    return replace(weights, layers=layers)
