"""How far a model can stretch and squeeze: certified bounds, local figures, the predicted error of a round trip."""

from lunet_export.certificate.bounds import Bounds, chain_bounds, data_bounds, outwards
from lunet_export.certificate.certificate import SAFETY, Certificate, LocalRows, certify
from lunet_export.certificate.jacobian import Linearization
from lunet_export.certificate.round_trip import predicted_round_trip

__all__ = [
    "SAFETY",
    "Bounds",
    "Certificate",
    "Linearization",
    "LocalRows",
    "certify",
    "chain_bounds",
    "data_bounds",
    "outwards",
    "predicted_round_trip",
]
