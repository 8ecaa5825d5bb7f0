"""The measurements behind `lunet-export bench`."""

from lunet_export.bench.latency import Opening, Row, latency, open_timed
from lunet_export.bench.measure import Measurement, interleaved

__all__ = ["Measurement", "Opening", "Row", "interleaved", "latency", "open_timed"]
