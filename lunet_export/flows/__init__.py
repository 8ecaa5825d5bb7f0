"""LU-Net in PyTorch: bijections, one a file, and the flow made of them."""

from lunet_export.flows.bijection import Bijection
from lunet_export.flows.chain import Chain
from lunet_export.flows.eager import EagerClasses, EagerFlow
from lunet_export.flows.leaky_softplus import LeakySoftplus
from lunet_export.flows.logit import LogitPreprocessing
from lunet_export.flows.lu_linear import LULinear
from lunet_export.flows.lunet import LUNet

__all__ = [
    "Bijection",
    "Chain",
    "EagerClasses",
    "EagerFlow",
    "LULinear",
    "LUNet",
    "LeakySoftplus",
    "LogitPreprocessing",
]
