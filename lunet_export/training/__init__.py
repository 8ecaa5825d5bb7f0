"""Training by exact maximum likelihood, in PyTorch."""

from lunet_export.training.architecture import Architecture, Training
from lunet_export.training.classes import ClassesResult, ClassPaths, train_classes
from lunet_export.training.fit import Trainer
from lunet_export.training.history import EpochRecord, History
from lunet_export.training.kinds import KINDS
from lunet_export.training.settings import FitSettings
from lunet_export.training.train import Paths, Result, train

__all__ = [
    "KINDS",
    "Architecture",
    "ClassPaths",
    "ClassesResult",
    "EpochRecord",
    "FitSettings",
    "History",
    "Paths",
    "Result",
    "Trainer",
    "Training",
    "train",
    "train_classes",
]
