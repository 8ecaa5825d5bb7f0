"""Peak memory is read in a fresh process, which must not inherit the peak of this one."""

import json
import subprocess
import sys

import numpy as np
import pytest

from lunet_export.bench import memory
from lunet_export.errors import BadInputError
from lunet_export.runtime import flow
from tests.test_imports import loaded_by


def test_growth_is_the_fresh_processs_own(exported):
    held = np.ones(2**25)  # 256 MB here must not be seen there
    found = memory.peak_memory(exported.folder, batch=5, threads=1)
    if found is None:
        pytest.skip("no peak can be read on this system")
    graph = (exported.folder / "sampling.onnx").stat().st_size
    assert (found.batch, found.least_bytes) == (5, graph + 2 * 5 * 16 * 4)
    assert 0 < found.growth_bytes < held.nbytes
    assert found.ratio == found.growth_bytes / found.least_bytes


def test_larger_batches_are_cut(exported, monkeypatch):
    monkeypatch.setattr(memory, "LARGEST_BATCH", 4)
    found = memory.measure(exported.folder, batch=9, threads=1)
    assert found is None or (found.batch, found.growth_bytes >= 0) == (4, True)
    assert flow.LARGEST_BATCH == 4096


def test_the_module_prints_json(exported, capsys):
    assert memory.main([str(exported.folder), "--batch", "2", "--threads", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["batch"] == 2


def test_a_missing_folder_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lunet_export.bench.memory", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    with pytest.raises(BadInputError, match="Expected to measure memory in a fresh process; it stopped: Expected an"):
        memory.peak_memory(tmp_path / "none", batch=1)


def test_a_batch_of_none_is_refused(exported, capsys):
    with pytest.raises(SystemExit):
        memory.main([str(exported.folder), "--batch", "0"])
    assert "Expected --batch of 1 or more; got 0" in capsys.readouterr().err


def test_the_module_loads_nothing_heavy():
    assert loaded_by("import lunet_export.bench.memory, lunet_export.bench.report") == set()
