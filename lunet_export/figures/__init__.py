"""The numbers behind the pictures of a model. NumPy only: the command line draws them."""

from lunet_export.figures.activation_inputs import ActivationInputs, UnitInputs, activation_inputs, validate_activations
from lunet_export.figures.block_strip import BlockStrip, block_strip, validate_blocks
from lunet_export.figures.density_map import DensityMap, density_map, shown_contexts, validate_two_dimensions
from lunet_export.figures.histogram import Histogram
from lunet_export.figures.interpolation import PATHS, PathName, interpolate, validate_images
from lunet_export.figures.latent_distribution import LatentDistribution, latent_distribution

__all__ = [
    "PATHS",
    "ActivationInputs",
    "BlockStrip",
    "DensityMap",
    "Histogram",
    "LatentDistribution",
    "PathName",
    "UnitInputs",
    "activation_inputs",
    "block_strip",
    "density_map",
    "interpolate",
    "latent_distribution",
    "shown_contexts",
    "validate_activations",
    "validate_blocks",
    "validate_images",
    "validate_two_dimensions",
]
