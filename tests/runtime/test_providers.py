"""Strict providers: what each failure of CUDA says, with ONNX Runtime, libraries and driver of several machines."""

import builtins
import re
import sys
import warnings
from threading import Thread
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from lunet_export import ExportedFlow
from lunet_export.errors import (
    BadInputError,
    MissingPackageError,
    OutOfMemoryError,
    ProviderError,
    ProviderWarning,
)
from lunet_export.graphs import builder, floor
from lunet_export.installation import install_extra, pip
from lunet_export.runtime import environment, providers
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.environment import Device, Driver, Library, Processors
from lunet_export.runtime.providers import open_sessions

GPU = Device(0, "NVIDIA A10", "8.6", 24 * 10**9)
LIBRARIES = ("libcublas.so.13", "libcudart.so.13", "libcurand.so.10", "libcuda.so.1")
NO_DRIVER = Driver(None, "libcuda.so.1 is missing: no NVIDIA driver, or a container without --gpus")
NO_KERNEL = "CUDA failure 209: no kernel image is available for execution on the device"
has_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA"
)


@pytest.fixture(scope="module")
def model():
    return builder.serialize(floor.build(4, 2, "float32"))


class Session:
    """A session as the CUDA wheel would give it, computed on the CPU."""

    nodes = (("CUDAExecutionProvider", ("Gemm", "Gemm")),)
    said = None  # what opening or running raises
    runs = None

    def __init__(self, model, options, *, providers, **keywords):
        self.asked, self.keywords = providers, keywords
        on_cuda = providers[0] != "CPUExecutionProvider"
        self.strict = on_cuda and options.get_session_config_entry("session.disable_cpu_ep_fallback")
        type(self).last = self
        self.trials = []
        if self.said:
            raise RuntimeError(self.said)
        self.real = onnxruntime.capi.onnxruntime_inference_collection.InferenceSession(model)

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self):
        def part(name, operators):
            nodes = [SimpleNamespace(op_type=operator) for operator in operators]
            return SimpleNamespace(ep_name=name, get_nodes=lambda: nodes)

        return [part(*entry) for entry in self.nodes]

    def run(self, outputs, feeds, options=None):
        if self.runs:
            raise RuntimeError(self.runs)
        number = options.get_run_config_entry("gpu_graph_id") if options else None
        self.trials.append((number, [array.shape for array in feeds.values()]))
        return self.real.run(outputs, feeds)

    def __getattr__(self, name):
        return getattr(self.real, name)


@pytest.fixture
def machine(monkeypatch):
    """A machine on which CUDA works; a test takes away what it is about."""

    def change(*, session=Session, packages=None, libraries=(), driver=None, version="1.31.1", **fields):
        made = type("Changed", (session,), fields)
        missing = dict.fromkeys(libraries, "missing")
        found = [Library(name, missing.get(name)) for name in LIBRARIES]
        monkeypatch.setattr(onnxruntime, "InferenceSession", made)
        monkeypatch.setattr(onnxruntime, "__version__", version)
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        monkeypatch.setattr(environment, "packages", lambda: packages or {"onnxruntime-gpu": version})
        monkeypatch.setattr(environment, "libraries", lambda: found)
        monkeypatch.setattr(environment, "driver", lambda: driver or Driver(13000, None, (GPU,)))
        return made

    return change


def refusal(model, **keywords):
    with pytest.raises(ProviderError) as error:
        open_sessions([model], "cuda", threads=None, **keywords)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    return str(error.value)


def test_cuda_is_asked_for_strictly_and_tried(machine, model):
    made = machine()
    (session,), choice = open_sessions([model], "cuda", threads=2)
    assert (choice.name, choice.reason) == ("cuda", "asked for")
    assert session.strict == "1"
    assert session.keywords == {"enable_fallback": 0}
    assert session.asked == [
        (
            "CUDAExecutionProvider",
            {"device_id": "0", "arena_extend_strategy": "kNextPowerOfTwo", "use_tf32": "0"},
        )
    ]
    assert made.last.trials == [("-1", [(1, 4)])]  # one row, and never captured


def test_options_reach_onnxruntime_by_its_own_names(machine, model):
    made = machine()
    options = CudaOptions(device_id=1, memory_limit=10**9, arena="same-as-requested", tf32=True)
    open_sessions([model], "cuda", threads=None, cuda=options, cuda_graph=True)
    assert made.last.asked[0][1] == {
        "device_id": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "1",
        "gpu_mem_limit": "1000000000",
        "enable_cuda_graph": "1",
    }


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"use_tf3": True}, "Expected CUDA options of device_id, memory_limit, arena, tf32; got 'use_tf3'"),
        ({"device": 1}, "Did you mean device_id"),
        ({"device_id": -1}, "Expected a device_id of 0 or more; got -1"),
        ({"device_id": "0"}, "Expected a device_id of 0 or more; got '0'"),
        ({"device_id": True}, "got True"),
        ({"memory_limit": 0}, "Expected a memory_limit in bytes, above 0; got 0"),
        ({"memory_limit": "2GB"}, "got '2GB'"),
        ({"arena": "kSameAsRequested"}, "Expected an arena of next-power-of-two, same-as-requested"),
        ({"tf32": 1}, "Expected tf32 to be True or False; got 1"),
    ],
)
def test_misspelt_options_never_reach_onnxruntime(exported, given, sentence):
    with pytest.raises(ProviderError, match=sentence) as error:
        ExportedFlow(exported.folder, provider="cuda", cuda=given)
    assert error.value.exit_code == 3


def test_options_from_a_configuration_file():
    assert CudaOptions.of({"device_id": 2, "tf32": True}) == CudaOptions(device_id=2, tf32=True)
    assert CudaOptions.of(None) == CudaOptions()


WITH_GPU = re.escape(install_extra("gpu"))
WITH_CUDA_12 = re.escape(f"{pip('uninstall', '-y', 'onnxruntime-gpu')} && {install_extra('gpu-cuda12')}")
FAILURES = [
    (
        {"libraries": ["libcurand.so.10"]},
        f"missing: libcurand.so.10. What helps: {WITH_GPU}",
    ),
    (
        {"libraries": LIBRARIES, "driver": NO_DRIVER},
        "missing: libcublas.so.13, libcudart.so.13, libcurand.so.10, libcuda.so.1. What helps: install NVIDIA's driver "
        rf"\(in a container: --gpus all\), and {WITH_GPU}",
    ),
    (
        {"driver": Driver(12040, "it answers with error 35")},
        "Expected an NVIDIA driver 580 or newer, for CUDA 13; this one supports CUDA 12.4 at most. Update the driver, "
        f"or run: {WITH_CUDA_12}",
    ),
    (
        {"driver": Driver(13000, "it finds no device")},
        "a GPU that the NVIDIA driver can use; it finds no device. See what nvidia-smi says",
    ),
    (
        {"packages": {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}},
        "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are installed and overwrite each other. "
        f"Run: {re.escape(pip('uninstall', '-y', 'onnxruntime', 'onnxruntime-gpu'))} && {WITH_GPU}",
    ),
    ({"version": "1.23.2"}, "Expected ONNX Runtime 1.24 or newer for CUDA, .* this is 1.23.2"),
    ({"said": 'FAIL : Unknown provider option: "use_tf32".'}, "knows the CUDA option use_tf32; this one does not"),
    (
        {"said": "/src/provider.cc:63 void onnxruntime::Long::Name(int) [ONNXRuntimeError] : 1 : FAIL : new.\nmore"},
        "ONNX Runtime says: [ONNXRuntimeError] : 1 : FAIL : new. See lunet-export doctor.",
    ),
    (
        {"said": "/src/cuda_call.cc:129 bool CudaCall() [with ERR = int] CUDA failure 999: unknown error ; GPU=0"},
        "ONNX Runtime says: CUDA failure 999: unknown error ; GPU=0. See lunet-export doctor.",
    ),
    ({"said": "FAIL : something new\nsecond line"}, "ONNX Runtime says: FAIL : something new. See lunet-export doctor"),
    (
        {"runs": NO_KERNEL, "driver": Driver(13000, None, (Device(0, "NVIDIA V100", "7.0", 1),))},
        "Expected kernels for NVIDIA V100, compute capability 7.0; onnxruntime-gpu 1.31.1 was built without them. "
        f"Run: {WITH_CUDA_12}",
    ),
    (
        {"runs": NO_KERNEL, "driver": Driver(13000, None, (Device(0, "NVIDIA B200", "10.0", 1),))},
        "compute capability 10.0; .* Use `provider='cpu'`, or look for a newer package",
    ),
    ({"runs": "Failed to allocate memory for requested buffer"}, "Expected more memory on the GPU"),
    ({"runs": "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"}, "raise `memory_limit` if there is one"),
    (
        {"nodes": (("CUDAExecutionProvider", ["Gemm"]), ("CPUExecutionProvider", ["Loop", "Add", "Add"]))},
        "Expected every node on CUDA; ONNX Runtime puts 2 Add, 1 Loop on CPUExecutionProvider",
    ),
    (
        {"get_providers": lambda self: ["CPUExecutionProvider"]},
        "Expected CUDA on device 0; ONNX Runtime says: it gave a CPU session instead",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), FAILURES, ids=[sentence[:40] for _, sentence in FAILURES])
def test_each_failure_names_its_cause_and_its_cure(machine, model, change, sentence):
    fields = {"said": "This session contains graph nodes that are assigned to the default CPU EP"}
    if not {"runs", "nodes", "get_providers", "said"} & set(change):
        change = fields | change
    machine(**change)
    said = refusal(model)
    assert sentence in said or re.search(sentence, said), said


def test_a_device_that_does_not_exist(machine, model):
    machine(said='Failed to parse provider option "device_id"')
    said = refusal(model, cuda=CudaOptions(device_id=3))
    assert said == "Expected a CUDA device that exists; got number 3, and there are 1 (0: NVIDIA A10)."


def test_auto_falls_back_aloud(machine, exported):
    class Refuses(Session):
        def __init__(self, model, options, *, providers, **keywords):
            if providers[0] != "CPUExecutionProvider":
                raise RuntimeError("no")
            super().__init__(model, options, providers=providers, **keywords)

    machine(session=Refuses, libraries=["libcublas.so.13"])
    sessions, choice = open_sessions([exported.folder.joinpath("density.onnx").read_bytes()], "auto", threads=1)
    assert choice.name == "cpu"
    assert choice.reason.startswith("CUDA does not run here: Expected the CUDA libraries")
    assert "libcublas.so.13" in choice.reason
    assert len(sessions) == 1


def test_auto_takes_cuda_where_it_runs(machine, model):
    machine()
    _, choice = open_sessions([model], "auto", threads=None)
    assert (choice.name, choice.reason) == ("cuda", "it runs here")


@has_cuda
def test_without_cuda_the_package_is_named(exported):
    with pytest.raises(ProviderError, match=r"Expected an ONNX Runtime with CUDA; onnxruntime .* has none") as error:
        ExportedFlow(exported.folder, provider="cuda")
    assert error.value.exit_code == 3


@has_cuda
def test_auto_says_what_it_took_and_why(exported, monkeypatch):
    flow = ExportedFlow(exported.folder, provider="auto")
    assert (flow.provider, flow.provider_reason) == ("cpu", "this ONNX Runtime has no CUDA")
    assert (flow.tf32, flow.effective_tf32, flow.placement) == (False, "not used", {})
    monkeypatch.setattr(environment, "packages", lambda: {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"})
    clashing = ExportedFlow(exported.folder, provider="auto")
    assert "are installed and overwrite each other" in clashing.provider_reason


def test_unknown_provider_is_refused(exported):
    with pytest.raises(BadInputError, match="Expected a provider of auto, cpu, cuda; got 'tpu'"):
        ExportedFlow(exported.folder, provider="tpu")


def test_the_ruins_of_two_packages_are_named(monkeypatch, model):
    monkeypatch.delattr(onnxruntime, "InferenceSession")
    with pytest.raises(MissingPackageError, match=r"its folder is there but empty\. Run: pip uninstall -y"):
        open_sessions([model], "cpu", threads=None)


def test_what_a_run_raises_is_one_sentence(model):
    (session,), _ = open_sessions([model], "cpu", threads=1)
    with pytest.raises(ProviderError, match=r"Expected the CPU to finish the run; it says: .*INVALID_ARGUMENT"):
        providers.run(session, ["y"], {"x": np.zeros((1, 3), np.float32)})


def test_an_empty_list_of_visible_devices_is_named(machine, model, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine(said="no", driver=Driver(13000, "it finds no device"))
    assert "it finds no device, and CUDA_VISIBLE_DEVICES is ''." in refusal(model)


def test_an_onnxruntime_that_does_not_import_is_not_called_missing(monkeypatch, model):
    real = builtins.__import__

    def broken(name, *arguments, **keywords):
        if name == "onnxruntime":
            raise ImportError("DLL load failed while importing onnxruntime_pybind11_state")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(MissingPackageError, match="to be imported; it says: DLL load failed"):
        open_sessions([model], "cpu", threads=None)


def test_sessions_opened_in_threads_leave_the_output_alone(machine, model):
    machine()
    before = sys.stdout
    threads = [Thread(target=lambda: open_sessions([model], "cuda", threads=None)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stdout is before


@pytest.mark.parametrize("threads", [0, -1, True, 1.0, "1", 17, 10**9], ids=repr)
def test_threads_that_cannot_be_are_refused_and_the_graph_is_not_blamed(exported, monkeypatch, threads):
    monkeypatch.setattr(environment, "processors", lambda: Processors(machine=2, usable=2))
    with pytest.raises(BadInputError, match=r"Expected from 1 to 16 threads on 2 processors; got .*no `threads`"):
        ExportedFlow(exported.folder, provider="cpu", threads=threads)


@pytest.mark.parametrize(("usable", "most"), [(1, 16), (4, 16), (64, 256)])
def test_a_large_machine_takes_many_threads(model, monkeypatch, usable, most):
    monkeypatch.setattr(environment, "processors", lambda: Processors(usable, usable))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda model, options, **_: options.intra_op_num_threads)
    assert open_sessions([model], "cpu", threads=np.int64(most))[0] == [most]
    with pytest.raises(BadInputError, match=f"from 1 to {most} threads on {usable} processors?; got {most + 1}"):
        open_sessions([model], "cpu", threads=most + 1)


@pytest.mark.parametrize(("usable", "asked"), [(8, 0), (3, 3)])  # 0 is its own choice
def test_onnxruntime_is_told_of_processors_that_it_may_not_use(model, monkeypatch, usable, asked):
    monkeypatch.setattr(environment, "processors", lambda: Processors(machine=8, usable=usable))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda model, options, **_: options.intra_op_num_threads)
    assert open_sessions([model], "cpu", threads=None)[0] == [asked]
    assert open_sessions([model], "cpu", threads=2)[0] == [2]


LONG = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. Name:'"
    + "long_name_of_a_node " * 40
    + "' Status Message: BFCArena::AllocateRawInternal Failed to allocate memory for a buffer of size 17179869184"
)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (RuntimeError(LONG), "buffer of size 17179869184. Ask for fewer rows at a time, or free memory."),
        (RuntimeError("std::bad_alloc"), "ONNX Runtime says: std::bad_alloc. Ask for fewer rows"),
        (MemoryError(), "ONNX Runtime says: MemoryError. Ask for fewer rows"),
    ],
    ids=["arena", "bad_alloc", "MemoryError"],
)
def test_a_run_on_the_cpu_without_memory_is_no_failure_of_the_provider(model, monkeypatch, raised, words):
    (session,), _ = open_sessions([model], "cpu", threads=1)

    def refuse(*_):
        raise raised

    monkeypatch.setattr(session, "run", refuse)
    with pytest.raises(OutOfMemoryError) as caught:
        providers.run(session, ["y"], {"x": np.zeros((1, 4), np.float32)})
    said = str(caught.value)
    assert said.startswith("Expected memory for this run on the CPU; ONNX Runtime says: ")
    assert said.endswith(words) or words in said
    assert (caught.value.exit_code, "memory-limit" in said) == (2, False)


def test_a_session_on_the_cpu_without_memory_does_not_blame_the_graph(model, monkeypatch):
    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(OutOfMemoryError, match="Expected memory for a session on the CPU"):
        open_sessions([model], "cpu", threads=1)


def test_what_is_cut_is_cut_between_words():
    said = providers._first_line(RuntimeError(LONG))
    head, _, tail = said.partition(" … ")
    assert len(said) <= 310
    assert LONG.startswith(f"{head} ")
    assert LONG.endswith(f" {tail}")


class CpuAlone(Session):
    """CUDA does not open."""

    def __init__(self, model, options, *, providers, **keywords):
        if providers[0] != "CPUExecutionProvider":
            raise RuntimeError("no")
        super().__init__(model, options, providers=providers, **keywords)


def test_auto_warns_once_of_a_gpu_that_is_not_used(machine, exported, monkeypatch):
    machine(session=CpuAlone, libraries=["libcublas.so.13"])
    monkeypatch.setattr(environment, "shows_gpu", lambda: True)
    monkeypatch.setattr(environment, "processors", lambda: Processors(1, 1))
    providers._warn.cache_clear()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(3):
            flow = ExportedFlow(exported.folder, provider="auto")
    assert [(warning.category, warning.filename) for warning in heard] == [(ProviderWarning, __file__)]
    said = str(heard[0].message)
    assert said.startswith(
        "This machine shows an NVIDIA GPU, and provider auto runs on the CPU: CUDA does not run here"
    )
    assert "libcublas.so.13" in said
    assert flow.provider == "cpu"


@pytest.mark.parametrize(("shows", "provider"), [(False, "auto"), (True, "cpu")])
def test_there_is_no_warning_without_a_gpu_or_where_the_cpu_was_asked_for(
    machine, exported, monkeypatch, shows, provider
):
    machine(session=CpuAlone)
    monkeypatch.setattr(environment, "shows_gpu", lambda: shows)
    providers._warn.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ExportedFlow(exported.folder, provider=provider).provider == "cpu"
