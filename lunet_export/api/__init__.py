"""Training, export and checks in Python, with the seeds, defaults and bytes of the commands."""

import lunet_export.export  # noqa: F401  # imported later, the package would replace the function `export`
from lunet_export.api.choices import TrainingChoices
from lunet_export.api.functions import check, export, load, save, train
from lunet_export.api.models import Model

__all__ = ["Model", "TrainingChoices", "check", "export", "load", "save", "train"]
