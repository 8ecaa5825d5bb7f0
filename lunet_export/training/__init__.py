"""Training by exact maximum likelihood, in PyTorch."""

from lunet_export.training.classes import ClassesResult, ClassPaths, train_classes
from lunet_export.training.fit import FitSettings, Trainer
from lunet_export.training.history import EpochRecord, History
from lunet_export.training.train import Paths, Result, train

__all__ = [
    "ClassPaths",
    "ClassesResult",
    "EpochRecord",
    "FitSettings",
    "History",
    "Paths",
    "Result",
    "Trainer",
    "train",
    "train_classes",
]
