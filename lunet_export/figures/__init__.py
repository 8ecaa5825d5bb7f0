"""The numbers behind the pictures of a model. NumPy only: the command line draws them."""

from lunet_export.figures.bends import Bends, UnitInputs, bends, refuse_unseen
from lunet_export.figures.block_strip import BlockStrip, block_strip, refuse_blocks
from lunet_export.figures.density_map import DensityMap, density_map, refuse_other_dimensions
from lunet_export.figures.histogram import Histogram
from lunet_export.figures.interpolation import PATHS, PathName, interpolate, refuse_no_images
from lunet_export.figures.latent_law import LatentLaw, latent_law

__all__ = [
    "PATHS",
    "Bends",
    "BlockStrip",
    "DensityMap",
    "Histogram",
    "LatentLaw",
    "PathName",
    "UnitInputs",
    "bends",
    "block_strip",
    "density_map",
    "interpolate",
    "latent_law",
    "refuse_blocks",
    "refuse_no_images",
    "refuse_other_dimensions",
    "refuse_unseen",
]
