"""The instrument: it times nothing here, it is only asked whether it measures and refuses what it should."""

import csv
import time

import numpy as np
import pytest

from lunet_export import ExportedFlow
from lunet_export.bench import Row, contender, interleaved, latency, open_timed, report, selftest
from lunet_export.bench.measure import Measurement, host_and_device, summarise
from lunet_export.errors import BadInputError, CheckFailedError, ProviderError
from lunet_export.graphs import builder, floor
from lunet_export.runtime.device_graph import DeviceGraph


@pytest.fixture(scope="module")
def flow(exported):
    return ExportedFlow(exported.folder, provider="cpu", threads=1)


class Altered:
    """The export's own answers, one of them spoiled."""

    def __init__(self, flow, *, log_prob=0.0, x=0.0):
        self.flow, self.log_prob, self.x = flow, np.float32(log_prob), np.float32(x)
        self.calls = 0

    def density(self, x):
        self.calls += 1
        z, log_prob = self.flow.density(x)
        return z, log_prob + self.log_prob

    def decode(self, z):
        self.calls += 1
        return self.flow.decode(z) + self.x


# Turns


def recorded(names, **settings):
    order = []
    cases = {name: (lambda name=name: order.append(name)) for name in names}
    return order, interleaved(cases, **settings)


def test_turns_are_interleaved_after_the_warmup():
    order, found = recorded("ab", seconds=10e-3, warmup=2, calls_per_turn=3, settle=0.0)
    assert order[:4] == ["a", "a", "b", "b"]
    assert order[4:16] == (["a"] * 3 + ["b"] * 3) * 2
    assert {name: m.calls for name, m in found.items()} == {name: order.count(name) - 2 for name in "ab"}


def test_a_turn_is_fifty_calls_of_each_case():
    order, found = recorded("abc", seconds=0.1, warmup=0, settle=0.0)
    assert "".join(order[:150]) == "a" * 50 + "b" * 50 + "c" * 50
    assert all(measurement.calls >= 50 for measurement in found.values())


def test_calls_that_settle_a_turn_do_not_count():
    order, found = recorded("ab", seconds=0.04, warmup=0, settle=1e-3)
    assert 0 < sum(measurement.calls for measurement in found.values()) < len(order)


def test_long_calls_end_their_turn_and_still_come_three_times():
    """With a quarter of `seconds` of nothing, every call is a long one."""
    order, found = recorded("ab", seconds=0.0, warmup=9)
    assert "".join(order) == "ab" + "ab" * 3
    assert [measurement.calls for measurement in found.values()] == [3, 3]


def test_ratios_are_of_turns_not_of_overall_medians():
    """Both are slowed tenfold in most rounds, one of them by more calls."""
    slow, fast = summarise(np.array([2.0, 20, 20]), (2.0, 20, 20)), summarise(np.array([1.0, 1, 10]), (1.0, 10, 10))
    assert slow.times(fast) == 2.0
    assert slow.p50 / fast.p50 == 20.0
    assert summarise(np.array([3.0])).times(summarise(np.array([2.0]))) == 1.5


def test_nothing_to_time_is_no_time():
    assert interleaved({}, seconds=1.0) == {}


def test_percentiles_are_those_of_the_calls():
    found = summarise(np.arange(101.0))
    assert (found.p50, found.p90, found.p95, found.p99) == (50, 90, 95, 99)
    assert (found.quartiles, found.calls) == ((25, 75), 101)


def test_a_wide_spread_is_flagged():
    assert Measurement(1.0, 1.5, 2.0, 3.0, (0.8, 1.1), 10).noisy
    assert not Measurement(1.0, 1.5, 2.0, 3.0, (0.95, 1.1), 10).noisy


# What is timed


@pytest.mark.parametrize("role", ["others", "solvers"])
@pytest.mark.parametrize(("fault", "name"), [({"log_prob": 1}, "density, log_prob"), ({"x": 0.5}, "sampling, x")])
def test_a_wrong_runner_is_not_timed(flow, role, fault, name):
    stages = []
    given = {"others": {}, "solvers": {}} | {role: {"planted": Altered(flow, **fault)}}
    with pytest.raises(CheckFailedError, match=f"Expected right answers before timing; planted fails .*{name}"):
        latency(flow, given["others"], solvers=given["solvers"], batches=[1], seconds=0.01, on_stage=stages.append)
    assert stages == ["checking the answers of ONNX Runtime, cpu", "checking the answers of planted"]


def test_rows_of_every_runner_with_their_ratios(flow):
    graph = builder.serialize(floor.build(16, 3, "float32"))
    right, solver = Altered(flow), Altered(flow)
    rows = latency(
        flow, {"right": right}, solvers={"solver s": solver}, floor=graph, threads=1, batches=[1, 3], seconds=0.002
    )
    ours = "ONNX Runtime, cpu"
    assert [(row.direction, row.batch) for row in rows[:3]] == [("density", 1)] * 3
    names = {direction: [r.runner for r in rows if (r.direction, r.batch) == (direction, 3)] for direction in SIDES}
    assert names == {"density": [ours, "right", "floor"], "sampling": [ours, "solver s", "right", "floor"]}
    table = {(row.direction, row.batch, row.runner): row for row in rows}
    for (direction, batch, runner), row in table.items():
        base, lowest = (table[direction, batch, name].time for name in (ours, "floor"))
        assert row.faster == (None if runner in (ours, "floor") else row.time.times(base))
        assert row.times_floor == (None if runner == "floor" else row.time.times(lowest))
        assert row.rows_per_second == pytest.approx(batch / row.time.p50 * 1e3)


SIDES = ("density", "sampling")


def test_without_a_floor_there_is_no_ratio_to_it(flow):
    rows = latency(flow, {}, batches=[2], seconds=0.002)
    assert [(row.runner, row.faster, row.times_floor) for row in rows] == [("ONNX Runtime, cpu", None, None)] * 2


def test_opening_is_timed_in_three_parts(exported):
    flow, opening = open_timed(exported.folder, provider="cpu", threads=1)
    assert flow.dim == 16
    assert min(opening.read, opening.sessions, opening.first_run) > 0


# The floor


@pytest.mark.parametrize(("dim", "blocks", "dtype"), [(1, 1, "float32"), (7, 4, "float32"), (64, 17, "float64")])
def test_the_floor_is_its_products_and_stays_finite(dim, blocks, dtype):
    import onnxruntime

    model = floor.build(dim, blocks, dtype)
    assert [node.op_type for node in model.graph.node] == ["Gemm"] * blocks
    assert all(len(node.input) == 2 for node in model.graph.node)  # no bias
    data = builder.serialize(model)
    assert data == builder.serialize(floor.build(dim, blocks, dtype))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((5, dim)).astype(dtype)
    (y,) = session.run(["y"], {"x": x})
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert np.isfinite(y).all()
    if dim > 1:
        assert 0.1 < np.linalg.norm(y) / np.linalg.norm(x) < 10


def test_a_floor_of_nothing_is_refused():
    with pytest.raises(BadInputError, match="Expected at least one dimension and one block"):
        floor.build(4, 0, "float32")


# The report

ROWS = [
    Row("ONNX Runtime, cpu", "sampling", 8, Measurement(0.5, 0.6, 0.7, 0.8, (0.45, 0.55), 60), 16000.0, None, 2.5),
    Row("eager | PyTorch", "sampling", 8, Measurement(2.0, 3.0, 4.0, 5.0, (1.0, 3.0), 50), 4000.0, 4.0, 10.0),
    Row("floor", "sampling", 8, Measurement(0.2, 0.2, 0.2, 0.2, (0.2, 0.2), 70), 40000.0, None, None),
]


def test_cells_show_ratios_and_the_flag():
    assert report.cells(ROWS[0])[1:] == ("0.500", "0.600", "0.700", "0.800", "16,000", "", "2.5 x", "")
    assert report.cells(ROWS[1])[-3:] == ("4.0 x", "10.0 x", "wide spread")
    assert report.cells(ROWS[2])[-3:] == ("", "", "")
    assert all(len(report.cells(row)) == len(report.COLUMNS) for row in ROWS)


def test_markdown_has_as_many_cells_as_columns():
    lines = report.markdown(ROWS, ["one", "two"]).splitlines()
    assert [line.replace(r"\|", "").count("|") for line in lines[:5]] == [len(report.COLUMNS) + 1] * 5
    assert lines[5:] == ["", "one; two"]


def test_csv_is_read_back():
    read = list(csv.DictReader(report.csv_text(ROWS).splitlines()))
    assert [row["runner"] for row in read] == [row.runner for row in ROWS]
    assert (read[0]["export_faster"], read[1]["export_faster"], read[1]["wide_spread"]) == ("", "4.0", "True")
    assert [float(read[0][f"p{p}_ms"]) for p in (50, 90, 95, 99)] == [0.5, 0.6, 0.7, 0.8]


def test_work_items_are_shown_where_the_manifest_counts_them():
    graphs = {"sampling": {"bytes": 2_000_000, "nodes": 99, "work_items": 120}, "density": {"bytes": 1, "nodes": 9}}
    opening = {"read": 0.1, "sessions": 0.2, "first_run": 0.003}
    facts = {"opening": opening, "peak_memory": None, "graphs": graphs, "compile_seconds": {}, "tf32": "off"}
    facts |= {"provider": "cuda", "provider_reason": "asked for"}
    notes = report.notes(facts)
    assert "sampling: 2.00 MB, 99 nodes, 120 GPU work items" in notes
    assert notes[-1] == "provider cuda (asked for), TF32 off"


# CUDA


def test_host_and_device_are_told_apart():
    """A device that a launch only queues for: the host is fast, the back-to-back runs wait for it."""
    queued, calls = [], []

    def launch():
        queued.append(time.perf_counter())
        calls.append("launch")

    def wait():
        calls.append("wait")
        time.sleep(1e-3 * len(queued))
        queued.clear()

    found = host_and_device(launch, wait, seconds=0.02)
    assert found.host < 0.5
    assert found.device >= 1.0
    alone = calls.index("launch", 2)
    assert calls[alone : alone + 2] == ["launch", "wait"]
    assert calls[-2:] == ["launch", "wait"]
    assert "launchlaunch" in "".join(calls)


def test_the_lines_of_a_gpu(exported, cuda_on_host):
    flow = ExportedFlow(exported.folder, provider="cuda")
    graph = builder.serialize(floor.build(16, 3, "float32"))
    rows = latency(flow, {}, floor=graph, batches=[2], seconds=0.002)
    sampling = {row.runner: row for row in rows if row.direction == "sampling"}
    names = ["ONNX Runtime, cuda", "+ IO binding", "+ CUDA graph"]
    assert list(sampling) == [*names, "floor", "floor + IO binding", "floor + CUDA graph"]
    for name, lowest in zip(names, list(sampling)[3:], strict=True):  # copies against copies, replays against replays
        assert sampling[name].times_floor == sampling[name].time.times(sampling[lowest].time)
    plain, bound, replayed = (sampling[name] for name in names)
    assert plain.apart is None
    assert bound.apart.device is None
    assert replayed.apart.device > 0
    assert report.cells(replayed)[-1].startswith(f"host {replayed.apart.host:.3f}, device {replayed.apart.device:.3f}")
    assert report.cells(bound)[-1].startswith(f"host {bound.apart.host:.3f}")


def test_a_device_that_cannot_capture_leaves_its_lines_out_aloud(exported, cuda_on_host, monkeypatch):
    flow = ExportedFlow(exported.folder, provider="cuda")
    said = []

    def refuse(*_, **keywords):
        raise ProviderError("Expected a device that captures.")

    monkeypatch.setattr(contender, "ExportedFlow", refuse)
    assert list(contender.device_runners(flow, said.append)) == ["+ IO binding"]
    assert said == ["Without CUDA graph: Expected a device that captures."]


def test_a_device_that_does_not_capture_fails_one_check_and_the_rest_is_there(exported, cuda_on_host, monkeypatch):
    flow = ExportedFlow(exported.folder, provider="cuda")

    def refuse(graph, rows):
        raise ProviderError("Expected a capture; CUDA failure 900.")

    monkeypatch.setattr(DeviceGraph, "_replay", refuse)
    found = selftest.run(flow, threads=1, batches=(1,))
    (check,) = [check for check in found.checks if not check.passed]
    assert (check.name, check.note) == ("device: captured as a CUDA graph", "Expected a capture; CUDA failure 900.")
    assert all(set(row["ways"]) == {"arrays", "IO binding"} for row in found.latency)
    said = []
    assert list(contender.device_runners(flow, said.append)) == ["+ IO binding"]
    assert said == ["Without CUDA graph: Expected a capture; CUDA failure 900."]


def test_the_self_test_of_a_gpu(exported, cuda_on_host):
    flow = ExportedFlow(exported.folder, provider="cuda")
    found = selftest.run(flow, threads=1, batches=(1, 3))
    assert all(check.passed for check in found.checks)
    assert len(found.checks) == 3 + 3 + 1 + 2 * 3
    document = found.as_json()
    assert document["placement"] == {name: {"CUDAExecutionProvider": 7} for name in ("density", "sampling")}
    assert (document["tf32"], document["products"]) == ("off", "exact")
    assert [(row["direction"], row["batch"]) for row in document["latency"]] == [
        ("density", 1),
        ("density", 256),
        ("sampling", 1),
        ("sampling", 256),
    ]
    assert all(set(row["ways"]) == {"arrays", "IO binding", "CUDA graph"} for row in document["latency"])
