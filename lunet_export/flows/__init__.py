"""Flows in PyTorch: what all families share. The bijections and the network of a family lie in its own folder."""

from lunet_export.flows.bijection import Bijection
from lunet_export.flows.chain import Chain
from lunet_export.flows.eager import EagerClasses, EagerFlow, eager
from lunet_export.flows.flow import Flow, of_weights, standard_normal_log_prob
from lunet_export.flows.logit import LogitPreprocessing

__all__ = [
    "Bijection",
    "Chain",
    "EagerClasses",
    "EagerFlow",
    "Flow",
    "LogitPreprocessing",
    "eager",
    "of_weights",
    "standard_normal_log_prob",
]
