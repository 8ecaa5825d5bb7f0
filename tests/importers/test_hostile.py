"""States of other libraries whose tensors claim more than they hold, or do not fit each other."""

import pytest
import torch

from lunet_export.errors import CheckpointError
from lunet_export.importers import source
from tests.importers.peers import nflows_lu, package

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another
DIM = 3


def first(state, end):
    return next(key for key in state if key.endswith(end))


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.update({first(s, ".bias"): torch.zeros(10**6)}),  # LULinear reserves a square of it
        lambda s: s.update({first(s, ".bias"): torch.zeros(1).expand(2**40)}),
        lambda s: s.update({first(s, ".bias"): torch.zeros(())}),
        lambda s: s.update({first(s, "lower_entries"): torch.zeros(1)}),
    ],
)
def test_a_state_of_nflows_that_does_not_fit_itself_gets_a_sentence(tmp_path, edit):
    package("nflows")
    state = dict(nflows_lu(DIM).state_dict())
    edit(state)
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="Expected"):
        source.of_state("nflows", tmp_path / "state.pt")


def test_what_nflows_itself_says_of_a_state_is_a_sentence(tmp_path):
    """Its own ValueError was a traceback."""
    package("nflows")
    layer = "_transform._transforms.0."
    state = {f"{layer}_shift": torch.zeros(()), f"{layer}_scale": torch.tensor(-1.0)}
    state |= {"_transform._transforms.1._permutation": torch.arange(DIM)}
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="nflows rejects them: Scale must be strictly positive"):
        source.of_state("nflows", tmp_path / "state.pt")


def test_a_wide_matrix_of_normflows_is_not_reserved_by_one_side(tmp_path):
    package("normflows")
    state = {"flows.0.W": torch.zeros(10**5, 1), "q0.loc": torch.zeros(1, DIM)}
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="shapes of layer 0 do not fit each other"):
        source.of_state("normflows", tmp_path / "state.pt")
