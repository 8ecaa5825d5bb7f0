"""What ONNX Runtime's own builds collect is off where this package loads it."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OPEN = 'from lunet_export import ExportedFlow; ExportedFlow("exported/toy2d", provider="cpu").sample(1, seed=0)'


@pytest.mark.parametrize("given", [None, "anything"])
def test_a_session_leaves_nothing_in_the_users_cache_and_the_users_choice_stays(given, tmp_path):
    environment = {
        key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    environment |= {"HOME": str(tmp_path)} | ({"ORT_DISABLE_TELEMETRY": given} if given else {})
    program = f'{OPEN}; import os; print(os.environ["ORT_DISABLE_TELEMETRY"])'
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (given or "1")
    assert given or list(tmp_path.rglob("*")) == []
