"""Invertible maps of rows, one class per file, and chains of them.

A layer states its mathematics once, in float64 NumPy: without errors it is the reference, with errors the rounding
model. It writes its nodes into a graph that is handed to it. Nothing here imports torch or onnx.
"""

from lunet_export.layers.affine import Affine
from lunet_export.layers.autoregressive import AffineAutoregressive, Autoregressive, SplineAutoregressive
from lunet_export.layers.chain import Chain, Kind
from lunet_export.layers.conditional_affine import ConditionalAffine
from lunet_export.layers.context import Context, validate_unconditional
from lunet_export.layers.convolution import ConvNet, ConvolutionalCoupling
from lunet_export.layers.coupling import Coupling, DenseCoupling, DenseNet
from lunet_export.layers.elementwise import Activation, Elementwise
from lunet_export.layers.inverse import Inverse, inverted
from lunet_export.layers.layer import Layer
from lunet_export.layers.leaky_relu import LeakyReLU
from lunet_export.layers.leaky_softplus import LeakySoftplus
from lunet_export.layers.leaky_squareplus import LeakySquareplus
from lunet_export.layers.leaky_tanh import LeakyTanh
from lunet_export.layers.log_tanh import LogTanh
from lunet_export.layers.lu import LU
from lunet_export.layers.normal_cdf import NormalCDF
from lunet_export.layers.permutation import Permutation
from lunet_export.layers.rational_quadratic import RationalQuadratic
from lunet_export.layers.scale_map import ScaleMap
from lunet_export.layers.sigmoid import Sigmoid
from lunet_export.layers.softclip import Softclip
from lunet_export.layers.tanh import Tanh
from lunet_export.layers.transformer import Transformer
from lunet_export.layers.velocity import Velocity, VelocityField
from lunet_export.layers.whitening import Whitening

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "LU",
    "Activation",
    "Affine",
    "AffineAutoregressive",
    "Autoregressive",
    "Chain",
    "ConditionalAffine",
    "Context",
    "ConvNet",
    "ConvolutionalCoupling",
    "Coupling",
    "DenseCoupling",
    "DenseNet",
    "Elementwise",
    "Inverse",
    "Kind",
    "Layer",
    "LeakyReLU",
    "LeakySoftplus",
    "LeakySquareplus",
    "LeakyTanh",
    "LogTanh",
    "NormalCDF",
    "Permutation",
    "RationalQuadratic",
    "ScaleMap",
    "Sigmoid",
    "Softclip",
    "SplineAutoregressive",
    "Tanh",
    "Transformer",
    "Velocity",
    "VelocityField",
    "Whitening",
    "inverted",
    "validate_unconditional",
]

#: The activations of an LU-Net by the names of `--activation`.
#: The first is the paper's, and that of files that name none.
ACTIVATIONS: dict[str, type[Activation]] = {
    kind.option: kind for kind in (LeakySoftplus, LeakyReLU, LeakyTanh, LeakySquareplus)
}
#: The layers that a file may hold by name.
_STORED: tuple[type[Layer], ...] = (LU, Permutation, Affine, Sigmoid, Tanh, LogTanh, Softclip, AffineAutoregressive)
_STORED += (ConditionalAffine, SplineAutoregressive, NormalCDF)
LAYERS: dict[str, type[Layer]] = {kind.name: kind for kind in (*_STORED, *ACTIVATIONS.values())}
