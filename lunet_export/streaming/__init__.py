"""Scoring and sampling of more rows than memory holds: read, computed and written in parts, by one process or many."""

from lunet_export.streaming.engines import local, on_ray
from lunet_export.streaming.jobs import SampleJob, ScoreJob
from lunet_export.streaming.run import Progress, Run, Summary

__all__ = ["Progress", "Run", "SampleJob", "ScoreJob", "Summary", "local", "on_ray"]
