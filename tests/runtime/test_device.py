"""Rows that stay on the device: tensors, bindings, graph numbers and DLPack, with the CPU in place of a GPU."""

from dataclasses import dataclass, field
from threading import Thread, current_thread

import numpy as np
import onnxruntime
import pytest
import torch

from lunet_export import ExportedFlow, parity
from lunet_export.errors import BadInputError, ProviderError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.runtime import device_graph
from lunet_export.runtime.device import DeviceFlow
from lunet_export.runtime.device_graph import Device, DeviceGraph
from lunet_export.runtime.providers import open_sessions
from tests.networks import network


@dataclass
class Recorded:
    """A session that notes under which graph number each bound run went, and whether it was told to wait."""

    session: object
    numbers: list = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run_with_iobinding(self, binding, options):
        self.numbers.append(options.get_run_config_entry("gpu_graph_id"))
        self.session.run_with_iobinding(binding, options)


@pytest.fixture
def flow(exported):
    return ExportedFlow(exported.folder, provider="cpu", threads=1)


@pytest.fixture
def session(flow):
    (opened,), _ = open_sessions([flow.artifact.graphs["sampling"]], "cpu", threads=1)
    return Recorded(opened)


@pytest.fixture
def captured(flow):
    """The flow with the bookkeeping of captured graphs."""
    names = ("density", "sampling")
    sessions, _ = open_sessions([flow.artifact.graphs[name] for name in names], "cpu", threads=1)
    opened = dict(zip(names, sessions, strict=True))
    return DeviceFlow(opened, Device("cpu"), flow._rows, flow.latent, captured=True)


def graph(session, *, captured):
    return DeviceGraph(session, Device("cpu"), captured)


def rows(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32)


class AsRunner:
    """A device flow as `parity` calls it."""

    def __init__(self, flow):
        self.flow = flow

    def density(self, x):
        z, log_prob = self.flow.density(x)
        return z.numpy(), log_prob.numpy()

    def decode(self, z):
        return self.flow.decode(z).numpy()


def test_rows_on_the_device_pass_every_check(flow, captured):
    vectors = flow.artifact.vectors
    for on_device in (flow.on_device, captured):
        assert parity.all_passed(parity.run(AsRunner(on_device), vectors))


def test_samples_are_those_of_the_host(flow, captured):
    expected = flow.sample(6, seed=3, temperature=0.7)
    for on_device in (flow.on_device, captured):
        np.testing.assert_array_equal(on_device.sample(6, seed=3, temperature=0.7).numpy(), expected)


def test_results_go_to_torch_and_rows_come_from_it_without_a_copy(flow):
    z = torch.from_numpy(rows(5))
    x = flow.on_device.decode(z)
    tensor = torch.from_dlpack(x)
    assert tensor.data_ptr() == x.ortvalue.data_ptr()
    np.testing.assert_array_equal(tensor.numpy(), flow.decode(z.numpy()))
    latent, log_prob = flow.on_device.density(x)  # x never left the device
    assert (latent.shape, log_prob.shape) == ((5, 16), (5,))
    np.testing.assert_array_equal(log_prob.numpy(), flow.log_prob(x.numpy()))
    np.testing.assert_array_equal(flow.on_device.encode(x.ortvalue).numpy(), latent.numpy())
    np.testing.assert_array_equal(flow.on_device.log_prob(tensor).numpy(), log_prob.numpy())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (torch.zeros(3, 15), r"shape \(N, 16\) and float32; got \(3, 15\)"),
        (torch.zeros(3, 16, dtype=torch.float64), r"got \(3, 16\) and double"),
        (torch.zeros(16), r"got \(16,\)"),
        (torch.zeros(16, 3).T, "Expected a contiguous tensor"),
        (torch.zeros(3, 16, requires_grad=True), "without a gradient"),
        (torch.zeros(0, 16), "from 1 to 4096 rows"),
        (np.zeros((4097, 16)), "from 1 to 4096 rows"),
        (np.full((2, 16), np.nan), r"row 0 \(from 0\), column 1 is nan"),
        ("rows", "Expected"),
        (None, "Expected NumPy rows, an OrtValue or a DLPack tensor; got NoneType"),
    ],
)
def test_bad_rows_get_a_sentence(flow, given, sentence):
    with pytest.raises(BadInputError, match=sentence):
        flow.on_device.decode(given)


class Elsewhere:
    """A tensor of another device."""

    def __dlpack_device__(self):
        return 2, 1

    def __dlpack__(self, **_):
        raise AssertionError("nobody may read it")


def test_tensors_of_another_device_are_refused(flow):
    with pytest.raises(BadInputError, match="Expected a tensor on cpu:0, where the flow runs; got one elsewhere"):
        flow.on_device.decode(Elsewhere())


def test_every_batch_size_has_its_own_graph_number_and_tensors(session):
    graphs = graph(session, captured=True)
    batches = {n: rows(n) for n in (1, 3, 8)}
    calls = {n: graphs.resident(given) for n, given in batches.items()}
    answers = {n: graphs.to_numpy(given)["x"] for n, given in batches.items()}
    for n in (8, 1, 3):
        calls[n]()
        np.testing.assert_array_equal(graphs.to_numpy(batches[n])["x"], answers[n])
        assert answers[n].shape == (n, 16)
    assert session.numbers == ["1", "3", "8", "8", "8", "1", "1", "3", "3"]


def test_without_capture_no_run_is_replayed(session):
    graphs = graph(session, captured=False)
    for n in (1, 4):
        graphs.run(rows(n))
        graphs.resident(rows(n))()
    assert session.numbers == ["-1"] * 4


def test_a_captured_graph_refuses_rows_that_a_replay_would_not_see(captured):
    """Planted: a replay reads the address that was captured, so a tensor elsewhere would give the last rows' answer."""
    with pytest.raises(BadInputError, match="got a tensor elsewhere, which a replay would ignore"):
        captured.decode(torch.from_numpy(rows(4)))


def test_rows_can_be_written_where_the_captured_graph_reads(captured, flow):
    own = captured.input("sampling", 4)
    for seed in (0, 1):
        torch.from_dlpack(own).copy_(torch.from_numpy(rows(4, seed)))
        np.testing.assert_array_equal(captured.decode(own).numpy(), flow.decode(rows(4, seed)))


def test_a_result_that_was_written_over_refuses_to_be_read(captured):
    first, other = captured.decode(rows(2, 0)), captured.decode(rows(3, 0))
    kept = first.numpy()
    second = captured.decode(rows(2, 1))
    assert not np.array_equal(second.numpy(), kept)
    for read in (first.numpy, first.__dlpack__, lambda: first.ortvalue):
        with pytest.raises(BadInputError, match="a later run of this batch size replayed the CUDA graph"):
            read()
    other.numpy()  # of another batch size: still its own


def test_a_launched_result_lasts(flow):
    first = flow.on_device.decode(rows(2, 0))
    kept = first.numpy()
    flow.on_device.decode(rows(2, 1))
    np.testing.assert_array_equal(first.numpy(), kept)


def test_the_number_of_captured_graphs_is_bounded_and_further_sizes_are_launched(session, flow, monkeypatch):
    monkeypatch.setattr(device_graph, "MOST_GRAPHS", 2)
    graphs = graph(session, captured=True)
    for n in (1, 2, 1, 3, 4):
        np.testing.assert_array_equal(graphs.to_numpy(rows(n))["x"], flow.decode(rows(n)))
    assert session.numbers == ["1", "2", "1", "-1", "-1"]
    graphs.input(2)
    with pytest.raises(BadInputError, match=r"Expected at most 2 batch sizes with cuda_graph; 3 is one more"):
        graphs.input(3)


def test_a_refused_tensor_takes_no_place(captured, monkeypatch):
    monkeypatch.setattr(device_graph, "MOST_GRAPHS", 1)
    for n in (1, 2, 3):
        with pytest.raises(BadInputError, match="got a tensor elsewhere"):
            captured.decode(torch.from_numpy(rows(n)))
    captured.input("sampling", 7)


def test_rows_that_numpy_rows_wrote_over_refuse_to_be_run(captured):
    own = captured.input("sampling", 4)
    own.ortvalue.update_inplace(rows(4, 1))
    captured.decode(rows(4, 2))
    with pytest.raises(BadInputError, match="a run with NumPy rows of this batch size overwrote them"):
        captured.decode(own)
    again = captured.input("sampling", 4)
    again.ortvalue.update_inplace(rows(4, 1))
    captured.decode(again)
    captured.decode(again)  # nobody wrote there


def test_one_thread_captures_and_replays_for_all(session):
    graphs, seen = graph(session, captured=True), set()
    real = session.session.run_with_iobinding

    def noted(*arguments):
        seen.add(current_thread().name)
        real(*arguments)

    session.run_with_iobinding = noted
    threads = [Thread(target=lambda: graphs.to_numpy(rows(4))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (name,) = seen
    assert name.startswith("lunet-cuda-graphs")


def test_a_copy_or_another_device_is_not_pretended(flow):
    x = flow.on_device.decode(rows(2))
    with pytest.raises(BufferError, match="got copy=True"):
        np.from_dlpack(x, copy=True)
    with pytest.raises(BufferError, match=r"Expected the device \(1, 0\); got \(2, 0\)"):
        x.__dlpack__(dl_device=(2, 0))
    assert np.from_dlpack(x, copy=False).shape == (2, 16)


def test_threads_do_not_mix_their_rows(captured, flow):
    wrong = []

    def work(seed):
        for _ in range(20):
            got = captured.to_numpy("sampling", rows(4, seed))["x"]
            if not np.array_equal(got, expected[seed]):
                wrong.append(seed)

    expected = {seed: flow.decode(rows(4, seed)) for seed in range(4)}
    threads = [Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_the_device_refuses_is_one_sentence(session):
    def gives_up(*_):
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0\nmore")

    session.run_with_iobinding = gives_up
    session.get_providers = lambda: ["CUDAExecutionProvider"]
    with pytest.raises(ProviderError, match=r"out of memory ; GPU=0\. Use smaller batches") as error:
        graph(session, captured=False).run(rows(2))
    assert "more" not in str(error.value)


def test_graphs_are_known_by_name(flow):
    with pytest.raises(BadInputError, match="Expected a graph of density, sampling; got 'random_sampling'"):
        flow.on_device.input("random_sampling", 1)


def test_flows_with_cuda_graphs_run_numpy_rows_through_them(exported, cuda_on_host):
    plain = ExportedFlow(exported.folder, provider="cpu", threads=1)  # as `cuda_on_host` opens the other
    flow = ExportedFlow(exported.folder, provider="cuda", cuda_graph=True)
    assert flow.on_device.captured
    for ours, theirs in zip(flow.sample_and_log_prob(5, seed=1), plain.sample_and_log_prob(5, seed=1), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert flow.decode(np.empty((0, 16))).shape == (0, 16)
    assert cuda_on_host == [("cpu", False), ("cuda", True)]
    assert list(flow.on_device.graph("density")._slots) == [5]


def test_noise_that_a_graph_draws_is_never_captured(cuda_on_host):
    artifact = build_artifact(network(4, 2), Provenance("rng"), ExportSettings(rng=True))
    flow = ExportedFlow(artifact, provider="cuda", cuda_graph=True)
    (_, first), (_, second) = flow.draw(3), flow.draw(3)
    assert cuda_on_host == [("cuda", True), ("cuda", False)]
    assert not np.array_equal(first, second)


def test_cuda_graphs_need_cuda(exported):
    with pytest.raises(BadInputError, match="Expected a provider of cuda or auto with cuda_graph; got cpu"):
        ExportedFlow(exported.folder, provider="cpu", cuda_graph=True)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA")
def test_auto_without_cuda_runs_without_cuda_graphs(exported):
    flow = ExportedFlow(exported.folder, provider="auto", cuda_graph=True)
    assert (flow.provider, flow.on_device.captured) == ("cpu", False)
