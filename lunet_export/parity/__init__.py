"""Proof that an exported flow computes what the reference does."""

from lunet_export.parity.checks import Check, ClassRunner, Runner, all_passed, as_json, run, with_recorded_eager
from lunet_export.parity.device import DEVICE_BATCHES, not_captured, run_device, run_replays
from lunet_export.parity.difference import Difference, compare
from lunet_export.parity.optional import run_optional

__all__ = [
    "DEVICE_BATCHES",
    "Check",
    "ClassRunner",
    "Difference",
    "Runner",
    "all_passed",
    "as_json",
    "compare",
    "not_captured",
    "run",
    "run_device",
    "run_optional",
    "run_replays",
    "with_recorded_eager",
]
