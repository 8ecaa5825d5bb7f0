"""Every export on every GPU generation of the wheel: where its nodes run, what a run launches, what is captured."""

import json
from pathlib import Path

import pytest

from tests.cuda.conftest import CAPABILITIES
from tests.cuda.graphs import COMMITTED, ROOT
from tests.cuda.journal import Counts
from tests.cuda.verdict import faults

LAUNCHES = Path(__file__).with_name("launches.json")
every_capability = pytest.mark.parametrize("capability", CAPABILITIES)


@pytest.fixture(scope="module")
def committed(request, reports, cases) -> dict[str, int]:
    """Launches of a run by graph, the same on every GPU."""
    if request.config.getoption("--write-launches"):
        runs = {case.name: reports[CAPABILITIES[0]]["subjects"][case.name]["run"] for case in cases}
        counted = {name: run["kernels"] + run["products"] + run["copies_on_device"] for name, run in runs.items()}
        LAUNCHES.write_text(json.dumps(counted, indent=2) + "\n")
    return json.loads(LAUNCHES.read_text())


@every_capability
def test_every_graph_runs_on_cuda_and_is_captured(capability, reports, cases, committed):
    subjects = reports[capability]["subjects"]
    found = {
        case.name: faults(case, subjects[case.name], launches=committed.get(case.name), capability=capability)
        for case in cases
    }
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


def test_a_number_is_committed_for_every_graph_and_no_other(cases, committed):
    assert list(committed) == [case.name for case in cases]
    # density; sampling by graph, dtype, solver; the wide one with a closed inverse; by dtype all graphs of three other
    # activations, a dense RealNVP, two JKO-iFlows, ten composed and three conditional flows; committed
    lunet = 3 * 3 + 3 * 3 * (5 + 4 + 4) + (1 + 3 * 4) + 3 * 4 * 3
    assert len(committed) == lunet + 4 * 3 + 2 * 5 * 3 + (10 + 3) * 4 * 3 + 4


@every_capability
def test_convolutions_are_placed_on_cuda_and_need_cudnn_to_run(capability, reports, convolutional):
    """All that the stand-in can prove of them: not one node is left to the CPU. A GPU with cuDNN must run them."""
    for case in convolutional:
        found = reports[capability]["subjects"][case.name]
        assert found["placed"] == {"CUDAExecutionProvider": case.nodes}, case.name
        trial = "Expected cuDNN 9, which this graph needs on CUDA"
        if not case.draws:  # of these our session tries one row
            assert found["refused"].startswith(trial), found["refused"]


def test_launches_are_the_work_items_of_the_manifest(cases, committed):
    assert committed == {case.name: case.work_items for case in cases}


@pytest.mark.parametrize("name", COMMITTED)
def test_launches_of_the_committed_exports_are_in_their_manifests(name, committed):
    graphs = json.loads((ROOT / "exported" / name / "manifest.json").read_text())["graphs"]
    said = {f"committed-{name}-{graph}": entry["work_items"] for graph, entry in graphs.items()}
    assert said == {graph: committed[graph] for graph in said}


def test_the_paper_s_network_keeps_to_its_targets(committed):
    targets = {"density": 55, "unrolled-sampling": 150, "fused-sampling": 100}
    for name, most in targets.items():
        assert committed[f"wide-float32-{name}"] <= most, name


@every_capability
def test_our_runtime_never_captures_a_graph_that_draws_its_noise(capability, reports):
    assert reports[capability]["subjects"]["whole"]["captures"] == {
        "opening": 0,
        "density": 1,
        "sampling": 1,
        "sampling_with_log_prob": 0,
        "random_sampling": 0,
    }


@every_capability
def test_rows_that_are_on_the_device_stay_there(capability, reports):
    found = reports[capability]["subjects"]["whole"]["resident"]
    counts = Counts(**found["counts"])
    assert found["device"] == [2, 0]  # DLPack's number of CUDA
    assert (counts.uploads, counts.downloads) == (0, 0)
    assert counts.launches > 0


@every_capability
def test_no_library_but_the_stand_in_was_loaded(capability, reports, standin):
    """No cuDNN and no real CUDA runtime: what was proved was proved without them."""
    libraries = {Path(library) for library in reports[capability]["libraries"]}
    assert {library.parent for library in libraries} == {standin}
    assert {library.name for library in libraries} == {path.name for path in standin.iterdir()}
