"""The instrument behind `lunet-export bench`."""

from lunet_export.bench.latency import Row, latency
from lunet_export.bench.measure import Measurement, interleaved

__all__ = ["Measurement", "Row", "interleaved", "latency"]
