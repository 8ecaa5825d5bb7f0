"""Eager PyTorch of one network per class, which export shows beside the graphs, is the reference."""

import numpy as np
import pytest

from lunet_export import parity
from lunet_export.checks.vectors import build
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import EagerClasses
from tests.networks import mixture


@pytest.mark.parametrize("preprocessing", [None, NAMED["digits"]], ids=["vectors", "images"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eager_passes_the_checks(preprocessing, dtype):
    weights = mixture(6, 3, preprocessing=preprocessing)
    eager, vectors = EagerClasses(weights, dtype), build(weights, dtype=dtype, seed=0)
    assert parity.all_passed(parity.run(eager, vectors))
    assert {part.dtype for part in eager.density(vectors.density.x)} == {np.dtype(dtype)}
