"""The Triton repository: its configurations in Triton's own schema, against the graphs, and served to the client.

Schema and client library come with tritonclient; the files are tested without it too. No Triton server runs here.
"""

import re
import shlex
import subprocess
import sys
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from onnx import TensorProto
from typer.testing import CliRunner

from lunet_cli.main import app
from lunet_export import ExportedFlow, files, noise
from lunet_export.artifact import open_folder
from lunet_export.checks import reference
from lunet_export.embedding import triton
from lunet_export.embedding.triton import Settings
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.preprocessing import NAMED
from tests import conditional, tolerances
from tests.conftest import ROOT
from tests.networks import network

pytestmark = pytest.mark.slow

TYPES = {TensorProto.FLOAT: "TYPE_FP32", TensorProto.DOUBLE: "TYPE_FP64"}
CUDA_OPTIONS = {"use_tf32": "0"}


@pytest.fixture(scope="session")
def double(tmp_path_factory) -> Path:
    """The folder of a float64 model with every optional graph."""
    folder = tmp_path_factory.mktemp("exported") / "double"
    export(network(5, 2), folder, Provenance("double"), ExportSettings(dtype="float64", with_log_prob=True, rng=True))
    return folder


@pytest.fixture(scope="session")
def given(tmp_path_factory) -> Path:
    """The folder of a conditional flow."""
    folder = tmp_path_factory.mktemp("exported") / "given"
    export(conditional.network(), folder, Provenance("given"), ExportSettings(with_log_prob=True, rng=True))
    return folder


@pytest.fixture(params=["small", "double"])
def source(request, exported, double) -> Path:
    return exported.folder if request.param == "small" else double


@pytest.fixture(params=["small", "double", "given"])
def any_source(request, exported, double, given) -> Path:
    return {"small": exported.folder, "double": double, "given": given}[request.param]


@pytest.fixture(scope="session")
def messages():
    """Triton's `model_config_pb2`."""
    return pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]").model_config_pb2


# The schema


def gaps(messages, config, graph: onnx.GraphProto, settings: Settings) -> list[str]:
    """Where a parsed configuration and what it configures differ."""
    found = []

    def compare(what, got, expected):
        if got != expected:
            found.append(f"{what}: {got}, not {expected}")

    for role in ("input", "output"):
        entries = {entry.name: entry for entry in getattr(config, role)}
        tensors = {tensor.name: tensor.type.tensor_type for tensor in getattr(graph, role)}
        compare(f"{role}s", entries.keys(), tensors.keys())
        for name in entries.keys() & tensors.keys():
            entry, shape = entries[name], tensors[name].shape.dim
            compare(f"symbolic batch of {name}", bool(shape[0].dim_param), True)
            backend = entry.reshape.shape if entry.HasField("reshape") else entry.dims
            compare(f"{name} in the graph", list(backend), [length.dim_value for length in shape[1:]])
            compare(f"{name} in requests", list(entry.dims), list(backend) or [1])
            compare(f"type of {name}", messages.DataType.Name(entry.data_type), TYPES[tensors[name].elem_type])
    inputs = {entry.name: (entry.data_type, list(entry.dims)) for entry in config.input}
    for sample in config.model_warmup:
        compare("warm-up", {k: (v.data_type, list(v.dims)) for k, v in sample.inputs.items()}, inputs)
        compare("data of the warm-up", all(value.zero_data for value in sample.inputs.values()), True)
        compare("size of the warm-up", 1 <= sample.batch_size <= config.max_batch_size, True)
    compare("warm-ups", len(config.model_warmup), 1 if settings.max_batch == 1 else 2)
    compare("backend", config.backend, "onnxruntime")
    compare("max_batch_size", config.max_batch_size, settings.max_batch or 4096)
    compare("queue delay", config.dynamic_batching.max_queue_delay_microseconds, settings.queue_delay_us)
    compare("versions", config.version_policy.latest.num_versions, settings.versions_served)
    compare("instances", [group.count for group in config.instance_group], [settings.instances])
    kinds = [messages.ModelInstanceGroup.Kind.Name(group.kind) for group in config.instance_group]
    compare("kinds", kinds, [{"cpu": "KIND_CPU", "cuda": "KIND_GPU"}[settings.target]])
    accelerators = config.optimization.execution_accelerators
    options = [("cuda", CUDA_OPTIONS)] if settings.target == "cuda" else []
    compare("accelerators", [(a.name, dict(a.parameters)) for a in accelerators.gpu_execution_accelerator], options)
    compare("CPU accelerators", len(accelerators.cpu_execution_accelerator), 0)
    compare("CUDA graphs", config.optimization.HasField("cuda"), False)
    return found


SETTINGS = {
    "defaults": Settings(),
    "cuda": Settings(target="cuda", instances=2),
    "tuned": Settings(name="other.v1", version=7, max_batch=1, queue_delay_us=0, versions_served=3),
}
every_settings = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


@every_settings
def test_every_configuration_is_valid_and_describes_its_graph(any_source, settings, tmp_path, messages):
    artifact = open_folder(any_source)
    models = triton.write(artifact, tmp_path / "repo", settings)
    for model in models:
        config = text_format.Parse((model.folder / "config.pbtxt").read_text(), messages.ModelConfig())
        graph = onnx.load(model.file).graph
        assert gaps(messages, config, graph, settings) == []
        assert config.name == model.folder.name == f"{settings.name or artifact.manifest.name}-{model.graph}"
        assert model.file.read_bytes() == artifact.graphs[model.graph]


FAULTS = {
    "wrong dims": (r"dims: \[ 16 \]", "dims: [ 15 ]"),
    "wrong type": ("TYPE_FP32", "TYPE_FP64"),
    "no reshape": (r"reshape \{ shape: \[ \] \}", ""),
    "wrong name": ('name: "x"', 'name: "y"'),
    "an output too few": (r"\},\n  \{ name: \"z\".*\}\n", "}\n"),
    "unknown field": ("max_batch_size", "max_batch_sise"),
    "unknown kind": ("KIND_CPU", "KIND_TPU"),
    "TF32 not off": ("instance_group", "optimization {} instance_group"),
    "no batching": ("dynamic_batching.*\n", "\n"),
    "random warm-up": ("zero_data", "random_data"),
}


@pytest.mark.parametrize(("pattern", "replacement"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(pattern, replacement, exported, tmp_path, messages):
    (density, _) = triton.write(open_folder(exported.folder), tmp_path)
    text = (density.folder / "config.pbtxt").read_text()
    broken = re.sub(pattern, replacement, text)
    assert broken != text
    expected = Settings(target="cuda") if "optimization" in replacement else Settings()
    try:
        config = text_format.Parse(broken, messages.ModelConfig())
    except text_format.ParseError:
        return
    assert gaps(messages, config, onnx.load(density.file).graph, expected) != []


# The client, against a server that does what the configurations say


@contextmanager
def serving(repository: Path, messages, fault: float = 0.0, fed_as=lambda fed: fed):
    """Address of a gRPC server of KServe's protocol: configurations from the repository, answers from ONNX Runtime.

    Faults are planted by what is added to the answers, and by what changes the arrays that are fed.
    """
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
        def _config(self, name, context):
            file = repository / name / "config.pbtxt"
            if not file.exists():
                context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
            return text_format.Parse(file.read_text(), messages.ModelConfig())

        def ModelConfig(self, request, context):
            return service_pb2.ModelConfigResponse(config=self._config(request.name, context))

        def ModelMetadata(self, request, context):
            config = self._config(request.name, context)
            response = service_pb2.ModelMetadataResponse(name=config.name, platform="onnxruntime_onnx")
            for tensor in config.input:
                datatype = messages.DataType.Name(tensor.data_type).removeprefix("TYPE_")
                response.inputs.add(name=tensor.name, datatype=datatype, shape=[-1, *tensor.dims])
            return response

        def ModelInfer(self, request, context):
            config = self._config(request.model_name, context)
            file = repository / config.name / (request.model_version or "1") / "model.onnx"
            entries, fed, rows = {entry.name: entry for entry in config.input}, {}, request.inputs[0].shape[0]
            if {tensor.name for tensor in request.inputs} != entries.keys():
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"expected {len(entries)} inputs")
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
                if rows > config.max_batch_size or tensor.shape != [rows, *entries[tensor.name].dims]:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected shape {list(tensor.shape)}")
                dtype = {"FP32": np.float32, "FP64": np.float64}[tensor.datatype]
                fed[tensor.name] = np.frombuffer(raw, dtype).reshape(tensor.shape)
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            names = [output.name for output in config.output]
            response = service_pb2.ModelInferResponse(model_name=config.name)
            for output, array in zip(config.output, session.run(names, fed_as(fed)), strict=True):
                served = (array + array.dtype.type(fault)).reshape(rows, *output.dims)
                response.outputs.add(name=output.name, datatype=tensor.datatype, shape=served.shape)
                response.raw_output_contents.append(served.tobytes())
            return response

    server = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def client(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lunet_export.embedding.triton_client", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_client_scores_samples_and_replays(source, tmp_path, messages):
    artifact = open_folder(source)
    triton.write(artifact, tmp_path / "repo", Settings(max_batch=7))  # so that its requests come in parts
    np.save(tmp_path / "rows.npy", artifact.vectors.density.x)
    with serving(tmp_path / "repo", messages) as url:
        name = artifact.manifest.name
        replayed = client(name, "--url", url, "--replay", source)
        scored = client(name, "--url", url, "--score", tmp_path / "rows.npy", "--version", 1)
        sampled = client(name, "--url", url, "--sample", 20, "--seed", 7, "-o", tmp_path / "x.npy")
    verdicts = [line.rpartition(" ")[2] for line in replayed.stdout.splitlines()]
    assert (replayed.returncode, set(verdicts), len(verdicts) >= 9, replayed.stderr) == (0, {"ok"}, True, "")
    got = [float(line) for line in scored.stdout.split()]
    tolerance = artifact.vectors.density.tolerance
    assert (np.abs(got - artifact.vectors.density.log_prob) <= tolerance["log_prob"]).all()
    assert "20 samples of seed 7" in sampled.stdout
    ours = ExportedFlow(artifact, provider="cpu").sample(20, seed=7)
    weights = network(5, 2) if name == "double" else network(16, 3, preprocessing=NAMED["digits"])
    dtype, got = str(ours.dtype), np.load(tmp_path / "x.npy")
    allowed = tolerances.TWO * tolerances.of_sampling(weights, noise.normal(7, range(20), weights.dim), dtype)["x"]
    tolerances.assert_within(got, ours, allowed)
    assert tolerances.beyond(np.roll(got, 7, axis=0), ours, allowed) > 1


def test_the_client_sees_a_server_that_is_wrong(exported, tmp_path, messages):
    triton.write(open_folder(exported.folder), tmp_path)
    with serving(tmp_path, messages, fault=0.1) as url:
        done = client("small", "--url", url, "--replay", exported.folder)
    assert (done.returncode, "FAILED" in done.stdout) == (1, True)


def test_the_client_says_what_the_server_refuses(exported, tmp_path, messages):
    triton.write(open_folder(exported.folder), tmp_path)
    np.save(tmp_path / "narrow.npy", np.ones((2, 5)))
    with serving(tmp_path, messages) as url:
        unknown = client("other", "--url", url, "--replay", exported.folder)
        narrow = client("small", "--url", url, "--score", tmp_path / "narrow.npy")
    assert (unknown.returncode, "unknown model: 'other-density'" in unknown.stderr) == (2, True)
    assert (narrow.returncode, "unexpected shape [2, 5]" in narrow.stderr) == (2, True)


def test_every_row_is_served_with_its_context(given, tmp_path, messages):
    artifact, count = open_folder(given), 100
    triton.write(artifact, tmp_path / "repo", Settings(max_batch=7))
    flow, weights = ExportedFlow(artifact, provider="cpu"), conditional.network()
    contexts = weights.context.drawn(3, range(count)).astype(np.float32)
    x = flow.sample(count, seed=5, context=contexts)
    for name, array in {"rows": x, "contexts": contexts, "one": contexts[:1]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    one = ",".join(map(repr, contexts[0].tolist()))
    with serving(tmp_path / "repo", messages) as url:
        replayed = client("given", "--url", url, "--replay", given)
        scored = {
            context: client("given", "--url", url, "--score", tmp_path / "rows.npy", f"--context={context}")
            for context in (tmp_path / "contexts.npy", tmp_path / "one.npy", one)
        }
        drawn = ("--sample", count, "--seed", 5, "-o", tmp_path / "x.npy", "--context", tmp_path / "contexts.npy")
        sampled = client("given", "--url", url, *drawn)
    assert (replayed.returncode, replayed.stderr, "FAILED" in replayed.stdout) == (0, "", False)
    for done, of in zip(scored.values(), (contexts, *2 * (np.repeat(contexts[:1], count, axis=0),)), strict=True):
        got = np.array([float(line) for line in done.stdout.split()])
        allowed = tolerances.of_density(weights, x, context=of)["log_prob"]
        tolerances.assert_within(got, reference.log_prob(weights, x.astype(np.float64), of), allowed)
        assert tolerances.beyond(got, reference.log_prob(weights, x.astype(np.float64), of[:, ::-1]), allowed) > 1
    assert (sampled.returncode, sampled.stderr) == (0, "")
    allowed = tolerances.of_sampling(weights, noise.normal(5, range(count), weights.dim), context=contexts)["x"]
    tolerances.assert_within(np.load(tmp_path / "x.npy"), x, tolerances.TWO * allowed)


CONTEXT_FAULTS = {
    "columns in another order": lambda context: context[:, ::-1].copy(),
    "contexts of other rows": lambda context: np.roll(context, 1, axis=0) if len(context) > 1 else context + 1,
    "no context": np.zeros_like,
}


@pytest.mark.parametrize("fault", CONTEXT_FAULTS.values(), ids=CONTEXT_FAULTS)
def test_the_client_sees_a_server_that_feeds_wrong_contexts(fault, given, tmp_path, messages):
    triton.write(open_folder(given), tmp_path)
    with serving(tmp_path, messages, fed_as=lambda fed: {**fed, "context": fault(fed["context"])}) as url:
        done = client("given", "--url", url, "--replay", given)
    assert (done.returncode, "FAILED" in done.stdout) == (1, True)


@pytest.fixture(scope="module")
def served(exported, given, messages, tmp_path_factory):
    """The address of a server of a conditional flow, `given`, and another one, `small`."""
    repository = tmp_path_factory.mktemp("repo")
    for folder in (exported.folder, given):
        triton.write(open_folder(folder), repository)
    with serving(repository, messages) as url:
        yield url


WRONG_CONTEXTS = {
    "missing": ("given", [], "got none. Give 3 numbers separated by commas"),
    "superfluous": ("small", ["--context=1,2,3"], "Expected no `context` for a flow that takes none"),
    "too few numbers": ("given", ["--context=1,2"], "Expected 3 finite numbers separated by commas"),
    "not finite": ("given", ["--context=1,nan,2"], "Expected 3 finite numbers separated by commas"),
    "not finite in a file": ("given", ["--context={nan}"], "Expected finite float32 numbers in context; row 1 (from"),
    "another count of rows": ("given", ["--context={two}"], "Expected one context, or one for each of 3 rows"),
    "wide rows": ("given", ["--context={wide}"], "Expected contexts of 3 numbers"),
    "a missing file": ("given", ["--context=none.npy"], "none.npy"),
}


@pytest.mark.parametrize(("name", "arguments", "words"), WRONG_CONTEXTS.values(), ids=WRONG_CONTEXTS)
def test_the_client_refuses_wrong_contexts_in_one_sentence(name, arguments, words, served, tmp_path):
    files = {"nan": np.full((3, 3), [[0.0], [np.nan], [0.0]]), "two": np.zeros((2, 3)), "wide": np.zeros((3, 4))}
    for file, array in files.items():
        np.save(tmp_path / f"{file}.npy", array)
    paths = {file: tmp_path / f"{file}.npy" for file in files}
    done = client(name, "--url", served, "--sample", 3, *(one.format(**paths) for one in arguments))
    assert (done.returncode, words in done.stderr, done.stdout) == (2, True, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_context_of_a_replay_is_that_of_the_vectors(given):
    done = client("given", "--replay", given, "--context=1,2,3")
    assert (done.returncode, "the test vectors have their own. Leave it out." in done.stderr) == (2, True)


# Versions and files; nothing below needs tritonclient


def test_a_new_version_leaves_the_old_one_and_the_configuration(exported, tmp_path):
    artifact = open_folder(exported.folder)
    first = triton.write(artifact, tmp_path)
    config = first[0].folder / "config.pbtxt"
    edited = config.read_text().replace("4096", "512") + "# tuned\n"
    config.write_text(edited)
    second = triton.write(artifact, tmp_path, Settings(version=2, target="cuda"))
    assert [model.config_kept for model in (*first, *second)] == [False, False, True, True]
    assert config.read_text() == edited
    assert first[0].file.read_bytes() == second[0].file.read_bytes() == artifact.graphs["density"]
    third = triton.write(artifact, tmp_path, Settings(version=2, target="cuda"), force=True)
    assert not third[0].config_kept
    assert "KIND_GPU" in config.read_text()
    assert first[0].file.exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["small-density", "small-sampling"]
    assert sorted(entry.name for entry in config.parent.iterdir()) == ["1", "2", "config.pbtxt"]


def test_the_same_settings_keep_nothing_back(exported, tmp_path):
    artifact = open_folder(exported.folder)
    triton.write(artifact, tmp_path)
    assert not any(model.config_kept for model in triton.write(artifact, tmp_path, Settings(version=2)))


def test_other_inputs_are_refused(exported, double, tmp_path):
    triton.write(open_folder(exported.folder), tmp_path, Settings(name="flow"))
    before = _tree(tmp_path)
    for force in (False, True):
        with pytest.raises(BadInputError, match="which all versions share; this export has others"):
            triton.write(open_folder(double), tmp_path, Settings(name="flow", version=2), force=force)
    assert _tree(tmp_path) == before


def test_a_model_of_someone_else_is_refused_even_with_force(exported, tmp_path):
    (tmp_path / "small-sampling" / "1").mkdir(parents=True)
    (tmp_path / "small-sampling" / "config.pbtxt").write_text('name: "small-sampling"')
    before = _tree(tmp_path)
    with pytest.raises(BadInputError, match="small-sampling is something else"):
        triton.write(open_folder(exported.folder), tmp_path, force=True)
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("failing", range(1, 9))
def test_a_failure_half_way_puts_everything_back(failing, late, exported, tmp_path, monkeypatch):
    """Two versions and two configurations move aside and are replaced; each rename in turn is stopped, or just done."""
    artifact = open_folder(exported.folder)
    triton.write(artifact, tmp_path / "repo", Settings(max_batch=1))
    before = _tree(tmp_path)
    monkeypatch.setattr(files, "exchange", lambda one, other: False)  # where the system cannot, there are two renames
    rename, calls = Path.rename, []

    def stopped(self, target):
        calls.append(target)
        if len(calls) == failing and not late:
            raise KeyboardInterrupt
        rename(self, target)
        if len(calls) == failing:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        triton.write(artifact, tmp_path / "repo", force=True)
    assert _tree(tmp_path) == before
    assert sorted(entry.name for entry in (tmp_path / "repo").iterdir()) == ["small-density", "small-sampling"]


def test_a_repository_that_failed_at_once_is_not_left(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(triton, "_rename_all", _raise)
    with pytest.raises(OSError):
        triton.write(open_folder(exported.folder), tmp_path / "repo")
    assert not (tmp_path / "repo").exists()


def _raise(*_) -> None:
    raise OSError


def _tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Refusals


BAD = {
    "version 0": ({"version": 0}, "`version` from 1 to"),
    "a version past 64 bits": ({"version": 2**63}, "`version` from 1 to"),
    "negative delay": ({"queue_delay_us": -1}, "`queue_delay_us` from 0 to"),
    "no instance": ({"instances": 0}, "`instances` from 1 to"),
    "no version served": ({"versions_served": 0}, "`versions_served` from 1 to"),
    "unknown target": ({"target": "tpu"}, "Expected a target of cpu, cuda; got 'tpu'"),
    "no batch": ({"max_batch": 0}, "`max_batch` from 1 to 4096"),
    "a larger batch than the export's": ({"max_batch": 4097}, "`max_batch` from 1 to 4096"),
    "a path as name": ({"name": "../x"}, "Expected a model name of"),
    "a quote in the name": ({"name": 'x"'}, "Expected a model name of"),
    "no name": ({"name": ""}, "Expected a model name of"),
}


@pytest.mark.parametrize(("settings", "words"), BAD.values(), ids=BAD)
def test_settings_that_do_not_fit_are_refused(settings, words, exported, tmp_path):
    with pytest.raises(BadInputError, match=re.escape(words)):
        triton.write(open_folder(exported.folder), tmp_path, Settings(**settings))
    assert list(tmp_path.iterdir()) == []


HOSTILE = {
    "no batch": lambda document: document.pop("batch"),
    "batch of a word": lambda document: document.update(batch=[1, "many"]),
    "no tensors": lambda document: document["graphs"]["density"].pop("inputs"),
    "a text for a tensor": lambda document: document["graphs"]["density"].update(inputs=["x"]),
    "a name that ends the text": lambda document: document["graphs"]["density"]["inputs"][0].update(name='x" }'),
    "a unit of two lines": lambda document: document["graphs"]["density"]["outputs"][0].update(unit="nats\nname: 1"),
    "a fixed batch": lambda document: document["graphs"]["density"]["inputs"][0].update(shape=[1, 16]),
    "an unknown dtype": lambda document: document["graphs"]["density"]["inputs"][0].update(dtype="int8"),
}


@pytest.mark.parametrize("edit", HOSTILE.values(), ids=HOSTILE)
def test_a_manifest_that_does_not_describe_its_graphs_is_refused(edit, folder, rewrite, tmp_path):
    rewrite(folder, edit)
    with pytest.raises(ArtifactError, match="in the manifest"):
        triton.write(open_folder(folder), tmp_path / "repo")
    assert not (tmp_path / "repo").exists()


def test_random_sampling_is_not_served(double, tmp_path):
    written = [model.graph for model in triton.write(open_folder(double), tmp_path)]
    assert written == ["density", "sampling", "sampling_with_log_prob"]


# What the page about it says


def test_the_lines_of_the_page_are_those_that_are_printed(tmp_path, monkeypatch):
    page = (ROOT / "exported" / "triton" / "README.md").read_text(encoding="utf-8")
    block = page.partition("```sh\n")[2].partition("```")[0].replace("\\\n", "").splitlines()
    monkeypatch.setattr(triton, "find_spec", lambda name: None)
    repository, folder = tmp_path / "model_repository", Path("exported/digits")
    for line in triton.commands("digits", repository, folder, gpu=False):
        words = shlex.split(line)
        if words[:2] == ["docker", "run"]:  # where the page has the shorter -v
            place = words.index("--mount")
            words[place : place + 2] = ["-v", "$PWD/model_repository:/models:ro"]
        assert words in [shlex.split(other) for other in block]


def test_the_page_names_options_and_files_that_exist():
    page = (ROOT / "exported" / "triton" / "README.md").read_text(encoding="utf-8")
    helps = CliRunner().invoke(app, ["triton", "--help"], env={"COLUMNS": "200"}).output
    helps += CliRunner().invoke(app, ["check", "--help"], env={"COLUMNS": "200"}).output
    helps += (ROOT / "lunet_export" / "embedding" / "triton_client.py").read_text(encoding="utf-8")
    helps += (ROOT / "lunet_export" / "embedding" / "triton.py").read_text(encoding="utf-8")
    servers = {"--model-control-mode", "--load-model", "--log-verbose"}
    for option in set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", page)) - servers:
        assert option in helps, option
