"""Training by exact maximum likelihood, in PyTorch."""

from lunet_export.training.fit import EpochRecord, FitSettings, Trainer
from lunet_export.training.train import Paths, Result, train

__all__ = ["EpochRecord", "FitSettings", "Paths", "Result", "Trainer", "train"]
