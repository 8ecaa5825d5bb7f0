"""The trial of runtimes: that it finds wrong answers, failures and crashes, and reads versions rightly."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest

from benchmarks import compat, compat_replay
from lunet_export.errors import CheckFailedError
from tests.conftest import ROOT, copied

TOY = ROOT / "exported" / "toy2d"


def trial(folders, **changes):
    found = compat.Trial("ONNX Runtime", "1.32.0", "Python 3.11.7", "2.4", folders, {})
    return replace(found, **changes)


def right():
    return {
        name: {"density": {"ratio": 0.1}, "sampling": {"ratio": 0.2}}
        for name in (*compat.COMMITTED, "lunet", "f-float64")
    }


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnx.reference"])
def test_the_vectors_are_replayed(runtime):
    found = compat_replay.replayed(compat_replay.RUNTIMES[runtime][1], TOY)
    assert found.keys() == {"density", "sampling"}
    assert all(0 < entry["ratio"] < 1 and len(entry["digest"]) == 64 for entry in found.values())


def test_every_class_is_replayed():
    folder = ROOT / "tests" / "version1" / "folders" / "classes"
    found = compat_replay.replayed(compat_replay.onnxruntime, folder)
    assert found.keys() == {"density", "sampling_0", "sampling_1"}
    assert all(entry["ratio"] < 1 for entry in found.values())


def test_a_wrong_number_and_a_broken_graph_are_seen(tmp_path):
    folder = copied(TOY, tmp_path / "toy2d")
    vectors = json.loads((folder / "vectors.json").read_text())
    vectors["density"]["log_prob"][3] += 1.5 * vectors["density"]["tolerance"]["log_prob"][3]
    (folder / "vectors.json").write_text(json.dumps(vectors))
    (folder / "sampling.onnx").write_bytes(b"no graph")
    found = compat_replay.replayed(compat_replay.onnxruntime, folder)
    assert 1 < found["density"]["ratio"] < 3
    assert "Protobuf" in found["sampling"]["said"] or "protobuf" in found["sampling"]["said"]


def test_the_script_stands_alone():
    """It knows nothing of this package: beside another copy of its file it runs too."""
    text = Path(compat_replay.__file__).read_text(encoding="utf-8")
    assert "import lunet_export" not in text
    assert "from lunet_export" not in text
    command = [sys.executable, "-P", compat_replay.__file__, "onnxruntime", str(TOY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["version"] == onnxruntime.__version__
    assert answer["folders"]["toy2d"]["sampling"]["ratio"] < 1


def test_a_runtime_that_crashes_is_a_failure_and_not_the_end():
    done = subprocess.CompletedProcess([], -11, "", "first\nSegmentation fault\n")
    answer = compat._last(done, [TOY])
    assert answer == {"folders": {"toy2d": {"all": {"said": "Segmentation fault"}}}}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found["digits"].update(density={"ratio": 1.01}),
        lambda found: found["digits"].update(density={"said": "no kernel"}),
        lambda found: found["digits"].update(density={"ratio": None}),
        lambda found: found["digits"].clear(),
    ],
    ids=["a difference", "a failure", "no number", "nothing"],
)
def test_what_is_not_equal_is_judged(spoil):
    compat.assess([trial(right())])
    wrong = right()
    spoil(wrong)
    with pytest.raises(CheckFailedError, match=r"not in ONNX Runtime 1\.32\.0 \(Python 3\.11\.7\)"):
        compat.assess([trial(right()), trial(wrong)])
    with pytest.raises(CheckFailedError):
        compat.assess([trial(right(), checks={"digits": wrong["digits"] or {"all": {"said": "none"}}})])


def test_what_openvino_is_known_for_is_no_failure_but_anything_else_is():
    double, single = right(), right()
    double["f-float64"] = {"density": {"ratio": 1e7}}
    single["lunet"] = {"density": {"ratio": 1.1}}
    compat.assess([trial(double, runtime="OpenVINO, float32"), trial(single, runtime="OpenVINO, as it comes")])
    for found, runtime in ((single, "OpenVINO, float32"), (double, "onnx.reference")):
        with pytest.raises(CheckFailedError):
            compat.assess([trial(found, runtime=runtime)])


def test_the_table_has_the_worst_of_a_version_and_names_failures():
    wrong = right()
    wrong["mnist"]["sampling"] = {"said": "no kernel"}
    trials = [trial(right()), trial(wrong, python="Python 3.12.1"), trial(right(), version="1.16.3")]
    table = compat.rows({"trials": [vars(entry) for entry in trials]})
    assert table[1:] == [
        ["ONNX Runtime 1.32.0", "3.11, 3.12", "0.20", "0.20", "0.20", "**1 of 2 fail**", "0.20", "0.20"],
        ["ONNX Runtime 1.16.3", "3.11", "0.20", "0.20", "0.20", "0.20", "0.20", "0.20"],
    ]


def test_the_worst_of_many_checks_is_kept_and_every_failure():
    checks = {"a": {"x": {"ratio": 0.5}, "z": {"ratio": float("inf")}}, "b": {"all": {"said": "no"}}, "c": {}}
    assert compat.together(checks) == {"a": {"all": {"ratio": float("inf"), "checks": 2}}, "b": checks["b"], "c": {}}
    assert trial(right(), checks={"digits": compat.together(checks)["a"]}).worst("digits") is None


def test_the_newest_patch_of_every_minor_version_is_taken():
    versions = ["1.9.0", "1.16.0", "1.32.0", "1.16.3", "1.15.1", "1.24.10", "1.24.4"]
    assert compat.minors(versions) == ["1.16.3", "1.24.10", "1.32.0"]


def test_this_python_is_tried():
    assert any(f"python{sys.version_info[0]}.{sys.version_info[1]}" == path.name for path in compat.pythons())


def recorded():
    return json.loads((ROOT / "benchmarks" / "results" / "compat.json").read_text())


def test_every_runtime_was_tried_and_gave_equal_answers():
    trials = [compat.Trial(**entry) for entry in recorded()["trials"]]
    compat.assess(trials)
    minors = {tuple(map(int, t.version.split(".")[:2])) for t in trials if t.runtime == "ONNX Runtime"}
    newest = max(minors)
    assert newest >= tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    assert minors == {(1, minor) for minor in range(compat.OLDEST[1], newest[1] + 1)}
    assert {t.runtime for t in trials} >= {"OpenVINO, float32", "onnx.reference", "onnxruntime-web, WASM"}
    for entry in trials:
        assert {*compat.COMMITTED, "lunet", "classes", "jko", "composed-float64"} <= {*entry.folders}
        assert bool(entry.checks) == (entry.runtime == "ONNX Runtime")
