"""The trainable PyTorch modules of `lunet_export.layers`, and a flow made of them."""

from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.chain import Chain
from lunet_export.torch_layers.eager import EagerClasses, EagerFlow, eager
from lunet_export.torch_layers.flow import Flow, standard_normal_log_prob
from lunet_export.torch_layers.logit import LogitPreprocessing
from lunet_export.torch_layers.modules import bijection_of

__all__ = [
    "Bijection",
    "Chain",
    "EagerClasses",
    "EagerFlow",
    "Flow",
    "LogitPreprocessing",
    "bijection_of",
    "eager",
    "standard_normal_log_prob",
]
