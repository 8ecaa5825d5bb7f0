"""What a trained model has learnt, beside what closed forms give without training. NumPy only."""

from lunet_export.diagnostics.certify import Certified, certify_folder, certify_model
from lunet_export.diagnostics.classify import ClassFolderSource, Classification, MixtureSource, classify
from lunet_export.diagnostics.detection import Detection, auroc
from lunet_export.diagnostics.diagnose import FLAGS, Figure, Flag, Report, diagnose
from lunet_export.diagnostics.moments import Moments, gaussian_gap
from lunet_export.diagnostics.recalibrate import Recalibration, recalibrate, with_note
from lunet_export.diagnostics.regression import Dependence
from lunet_export.diagnostics.rows import contexts_beyond, load, misfit, misfit_of, validate_rows
from lunet_export.diagnostics.source import FolderSource, Source, WeightsSource

__all__ = [
    "FLAGS",
    "Certified",
    "ClassFolderSource",
    "Classification",
    "Dependence",
    "Detection",
    "Figure",
    "Flag",
    "FolderSource",
    "MixtureSource",
    "Moments",
    "Recalibration",
    "Report",
    "Source",
    "WeightsSource",
    "auroc",
    "certify_folder",
    "certify_model",
    "classify",
    "contexts_beyond",
    "diagnose",
    "gaussian_gap",
    "load",
    "misfit",
    "misfit_of",
    "recalibrate",
    "validate_rows",
    "with_note",
]
