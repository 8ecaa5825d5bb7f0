"""Training, export and checks from Python: what the commands do, with the same seeds, defaults and bytes."""

import lunet_export.export  # noqa: F401  # imported later, it would take the place of the function of its name
from lunet_export.api.choices import TrainingChoices
from lunet_export.api.functions import check, export, load, save, train
from lunet_export.api.models import Model

__all__ = ["Model", "TrainingChoices", "check", "export", "load", "save", "train"]
