"""How far a model can stretch and squeeze: certified bounds, local figures, the predicted error of a round trip."""

from lunet_export.certificate.bounds import Bounds, chain_bounds, data_bounds
from lunet_export.certificate.certificate import SAFETY, Certificate, LocalRows, certify
from lunet_export.certificate.jacobian import BATCH, Linearization
from lunet_export.certificate.round_trip import predicted_round_trip

__all__ = [
    "BATCH",
    "SAFETY",
    "Bounds",
    "Certificate",
    "Linearization",
    "LocalRows",
    "certify",
    "chain_bounds",
    "data_bounds",
    "predicted_round_trip",
]
