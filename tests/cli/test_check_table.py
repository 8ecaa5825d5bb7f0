"""The table of checks."""

import numpy as np
import pytest

from lunet_cli.check_table import print_checks
from lunet_export.parity import Check, compare


@pytest.mark.parametrize(("expected", "relative"), [(0.0, "-"), (2.0, "5.0e-02")])
def test_what_is_compared_with_0_has_no_relative_difference(expected, relative, capsys):
    """As the mean and variance of drawn noise, of which it read 7.7e+306."""
    wanted = np.full(4, expected)
    gap = compare("z", expected=wanted, got=wanted + 0.1, tolerance=np.ones(4))
    print_checks([Check("moments", gap)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "moments" in line]
    assert line.split()[:4] == ["moments", "ok", "1.0e-01", relative]
