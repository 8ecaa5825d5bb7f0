"""Faults that the proof must catch: bad graphs that really run, and good reports with one thing changed."""

from copy import deepcopy
from pathlib import Path

import pytest

from tests.cuda.conftest import CAPABILITIES
from tests.cuda.graphs import PLANTED, Case
from tests.cuda.journal import TF32, Counts, inside_captures
from tests.cuda.verdict import faults, inside_a_capture

#: Words that must be among the faults of each graph of `graphs.PLANTED`.
CAUGHT = {
    "concat-of-33": ["copies 2 times in", "at most 32 inputs during CUDA Graph capture"],
    "split-into-33": ["copies 2 times in", "1 uploads inside the capture"],
    "loop": ["copies 4 times in and 4 times out", "no CUDA graph"],
    "memcpy": ["Memcpy nodes: {'MemcpyToHost': 1}", "no CUDA graph"],
    "on-the-cpu": ["our session refuses it", "would run some on the CPU"],
    "reduce-max": ["our session refuses it", "Expected cuDNN 9"],
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_bad_graph_is_caught_on_every_gpu(name, reports):
    case = Case(
        name, Path(), "float32", draws=False, captured=True, nodes=1, work_items=1, uploads=1, downloads=1, clears=0
    )
    for capability in CAPABILITIES:
        found = " / ".join(faults(case, reports[capability]["subjects"][name], launches=1, capability=capability))
        assert [words for words in CAUGHT[name] if words not in found] == [], found


#: What is changed in the report of a good graph: the path to it, its new value, words of the fault.
CHANGED = {
    "a node on the CPU": (["placed"], {"CUDAExecutionProvider": 46, "CPUExecutionProvider": 1}, "should be on CUDA"),
    "a node less": (["placed"], {"CUDAExecutionProvider": 46}, "47 nodes should be on CUDA"),
    "a copy in": (["executed", "CUDAExecutionProvider", "MemcpyFromHost"], 1, "Memcpy"),
    "run on the CPU": (["executed", "CPUExecutionProvider"], {"Add": 1}, "nodes run on {'CPUExecutionProvider'}"),
    "another upload": (["run", "uploads"], 2, "copies 2 times in"),
    "another download": (["run", "downloads"], 3, "3 times out"),
    "another kernel": (["run", "kernels"], 48, "a run launches 52; committed: 51"),
    "memory in a run": (["run", "allocations"], 1, "allocates"),
    "memory cleared in a run": (["run", "memsets"], 1, "clears memory 1 times"),
    "TF32": (["run", "math_modes"], [TF32, 0], "TF32 is on"),
    "TF32 that cannot be seen": (["tf32"], [], "with TF32 asked for"),
    "no capture": (["capture", "captures"], 0, "captures 0 times"),
    "refused": (["capture", "refused"], "it will not", "no CUDA graph: it will not"),
    "half a capture": (["capture", "inside", "products"], 0, "the capture holds 47 launches"),
    "memory in a capture": (["capture", "inside", "allocations"], 1, "1 allocations inside the capture"),
    "waiting in a capture": (["capture", "inside", "synchronisations"], 2, "2 synchronisations inside the capture"),
    "upload in a capture": (["capture", "inside", "uploads"], 1, "1 uploads inside the capture"),
    "no replay": (["capture", "replay", "replays"], 0, "a replay is not one call"),
    "launches in a replay": (["capture", "replay", "kernels"], 1, "a replay is not one call"),
}


@pytest.mark.parametrize(("path", "value", "words"), CHANGED.values(), ids=CHANGED)
def test_a_changed_report_is_caught(path, value, words, cases, reports):
    (case,) = [case for case in cases if case.name == "wide-float32-density"]
    found = deepcopy(reports[86]["subjects"][case.name])
    assert faults(case, found, launches=51, capability=86) == []
    *parents, last = path
    part = found
    for name in parents:
        part = part[name]
    part[last] = value
    (sentence,) = faults(case, found, launches=51, capability=86)
    assert words in sentence


def test_tf32_is_only_where_the_gpu_has_it(cases, reports):
    """Asked for, it is seen in every report with float32 products, but on a GPU of 2018 it never is."""
    single = [case.name for case in cases if case.products == "float32"]
    for capability in CAPABILITIES:
        modes = {tuple(reports[capability]["subjects"][name]["tf32"]) for name in single}
        assert modes == ({()} if capability < 80 else {(0, TF32)}), capability


LOG = """\
COPY H2D cudaMemcpyAsync 32
CAPTURE BEGIN
captured KERNEL _Z3addv
captured COPY H2D cudaMemcpyAsync 8
captured CUBLAS cublasSgemm_v2
captured COPY D2D cudaMemcpyAsync 32
CAPTURE END
REPLAY
SYNC cudaStreamSynchronize
""".splitlines()


def test_the_log_is_read_as_it_was_written():
    assert Counts.of(LOG) == Counts(
        kernels=1, products=1, copies_on_device=1, uploads=2, captures=1, replays=1, synchronisations=1
    )
    assert Counts.of(LOG).launches == 3
    assert list(inside_a_capture(Counts.of(inside_captures(LOG)))) == ["1 uploads inside the capture"]


def test_a_line_that_nobody_knows_is_no_silence():
    with pytest.raises(ValueError, match="COPYING"):
        Counts.of([*LOG, "COPYING everything"])
