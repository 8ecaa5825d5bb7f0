"""Scoring and sampling of more rows than memory holds: read, computed and written in parts, by one process or more."""

from lunet_export.streaming.engines import local, on_ray
from lunet_export.streaming.jobs import SampleJob, ScoreJob
from lunet_export.streaming.run import Done, Progress, Run, Summary, compute, write_file

__all__ = [
    "Done",
    "Progress",
    "Run",
    "SampleJob",
    "ScoreJob",
    "Summary",
    "compute",
    "local",
    "on_ray",
    "write_file",
]
