"""The PyTorch module of every layer, by the layer's class."""

from lunet_export.layers import (
    LU,
    Affine,
    AffineAutoregressive,
    ConditionalAffine,
    ConvolutionalCoupling,
    DenseCoupling,
    Inverse,
    Layer,
    LeakyReLU,
    LeakySoftplus,
    LeakySquareplus,
    LeakyTanh,
    LogTanh,
    NormalCDF,
    Permutation,
    Sigmoid,
    Softclip,
    SplineAutoregressive,
    Tanh,
    Velocity,
    Whitening,
)
from lunet_export.torch_layers.affine import ElementwiseAffine
from lunet_export.torch_layers.autoregressive import AutoregressiveBijection
from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.conditional_affine import ConditionalAffineBijection
from lunet_export.torch_layers.coupling import AffineCoupling
from lunet_export.torch_layers.inverted import Inverted
from lunet_export.torch_layers.leaky_relu import LeakyReLUBijection
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.torch_layers.leaky_squareplus import LeakySquareplusBijection
from lunet_export.torch_layers.leaky_tanh import LeakyTanhBijection
from lunet_export.torch_layers.log_tanh import LogTanhBijection
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.torch_layers.normal_cdf import NormalCDFBijection
from lunet_export.torch_layers.permutation import Reordering
from lunet_export.torch_layers.sigmoid import SigmoidBijection
from lunet_export.torch_layers.softclip import SoftclipBijection
from lunet_export.torch_layers.tanh import TanhBijection
from lunet_export.torch_layers.velocity import FlowBlock
from lunet_export.torch_layers.whitening import WhiteningBijection

MODULES: dict[type[Layer], type[Bijection]] = {
    LU: LULinear,
    Permutation: Reordering,
    Affine: ElementwiseAffine,
    LeakySoftplus: LeakySoftplusBijection,
    LeakyReLU: LeakyReLUBijection,
    LeakyTanh: LeakyTanhBijection,
    LeakySquareplus: LeakySquareplusBijection,
    Sigmoid: SigmoidBijection,
    Tanh: TanhBijection,
    LogTanh: LogTanhBijection,
    Softclip: SoftclipBijection,
    NormalCDF: NormalCDFBijection,
    AffineAutoregressive: AutoregressiveBijection,
    SplineAutoregressive: AutoregressiveBijection,
    ConditionalAffine: ConditionalAffineBijection,
    DenseCoupling: AffineCoupling,
    ConvolutionalCoupling: AffineCoupling,
    Velocity: FlowBlock,
    Whitening: WhiteningBijection,
}


def bijection_of(layer: Layer) -> Bijection:
    """Return the PyTorch module of a layer, in float64."""
    if isinstance(layer, Inverse):
        return Inverted(bijection_of(layer.layer))
    return MODULES[type(layer)].of(layer)
