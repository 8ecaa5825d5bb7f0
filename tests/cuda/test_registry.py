"""The list of kernels that `make test` checks against is the wheel's own."""

import gzip
import json

from tests.cuda.conftest import PYTHON, WHEEL
from tests.graphs.kernels.dump import kernels
from tests.graphs.kernels.registry import FILE


def test_the_committed_kernels_are_those_of_the_wheel():
    committed = json.loads(gzip.decompress(FILE.read_bytes()))
    assert committed == kernels(PYTHON)
    assert committed["version"] == WHEEL
