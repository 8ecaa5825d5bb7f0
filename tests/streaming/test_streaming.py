"""Streams give what the plain calls give, bit by bit, however they are cut, stopped, resumed and shared out."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from math import fsum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from lunet_export import ExportedFlow, noise, reference
from lunet_export.errors import BadInputError, DataError, MissingPackageError, ProviderError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.preprocessing import NAMED, dequantize
from lunet_export.runtime import ExportedClasses
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.runtime.scoring import score
from lunet_export.streaming import Run, SampleJob, ScoreJob, local, on_ray, sources
from lunet_export.streaming.engines import _Actor, _refuse_silent
from lunet_export.streaming.jobs import Place
from lunet_export.streaming.run import write_rows
from lunet_export.streaming.sources import open_source
from lunet_export.streaming.tables import FORMATS, writer
from tests.conftest import ROOT
from tests.families import composed
from tests.networks import network

DIM, ROWS = 3, 3 * LARGEST_BATCH + 100
CPU = Place(provider="cpu", threads=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed in range(3):
        export(network(DIM, 2, seed=seed), folder / f"m{seed}", Provenance(f"m{seed}"), ExportSettings())
    export(network(4, 2, preprocessing=NAMED["digits"]), folder / "images", Provenance("images"))
    export(composed.NETWORKS["a logit in front"](), folder / "interval", Provenance("interval"))
    return folder


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


@pytest.fixture
def data(x, tmp_path) -> Path:
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy"


def job_of(models: Path, data: Path, *names: str, **settings) -> ScoreJob:
    return ScoreJob(tuple(str(models / name) for name in names or ("m0",)), str(data), place=CPU, **settings)


def finished(run: Run, engine=local):
    engine(run, run.begin(resume=False))
    return run.finish()


def column(run: Run, name: str) -> np.ndarray:
    """A column of all parts."""
    tables = [read(path) for path in sorted(run.folder.glob("part-*"))]
    return np.concatenate([table[name] for table in tables])


def read(path: Path):
    if path.suffix == ".npy":
        return np.load(path)
    table = pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(pa.OSFile(str(path))).read_all()
    found = {}
    for name in table.column_names:
        values = table.column(name).combine_chunks()
        flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
        numbers = flat.to_numpy(zero_copy_only=False)
        found[name] = numbers.reshape(len(values), -1) if flat is not values else numbers
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rows_per_part", [LARGEST_BATCH, 2 * LARGEST_BATCH, 16 * LARGEST_BATCH])
def test_scores_are_those_of_one_call_however_they_are_cut(models, data, x, tmp_path, form, rows_per_part):
    run = Run(tmp_path / "out", job_of(models, data), rows_per_part, form)
    summary = finished(run)
    plain = score(ExportedFlow(models / "m0", provider="cpu", threads=1), x)
    np.testing.assert_array_equal(column(run, "log_prob"), plain)
    assert (summary.rows, summary.invalid) == (ROWS, 0)
    assert summary.sums["log_prob"] == pytest.approx(plain.sum(), rel=1e-12)
    known = json.loads((run.folder / "_run.json").read_text())
    assert known["complete"]
    assert known["summary"]["means"]["log_prob"] == pytest.approx(plain.mean(), rel=1e-12)
    assert sum(part["rows"] for part in known["parts"]) == ROWS


def as_parquet(x, path):
    pq.write_table(pa.table({f"c{k}": x[:, k] for k in range(DIM)}), path, row_group_size=5000)


def as_list(x, path, row_group_size=777):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), DIM)
    pq.write_table(pa.table({"id": np.arange(len(x)), "x": lists}), path, row_group_size=row_group_size)


def as_arrow(x, path):
    table = pa.table({f"c{k}": x[:, k] for k in range(DIM)})
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table, max_chunksize=1000)


def as_folder(x, path):
    path.mkdir()
    for number, part in enumerate(np.array_split(x, 3)):
        as_parquet(part, path / f"{number}.parquet")


def as_packed(x, path):
    feather.write_feather(pa.table({f"c{k}": x[:, k] for k in range(DIM)}), path, compression="lz4", chunksize=3000)


def as_arrow_folder(x, path):
    path.mkdir()
    for number, part in enumerate(np.array_split(x, 3)):
        as_arrow(part, path / f"{number}.arrow")


def as_one_piece(x, path):
    as_list(x, path, row_group_size=len(x))


SOURCES = {
    "x.parquet": as_parquet,
    "l.parquet": as_list,
    "one.parquet": as_one_piece,
    "x.arrow": as_arrow,
    "x.feather": as_packed,
    "many": as_folder,
    "arrows": as_arrow_folder,
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_file_gives_the_same_rows(x, tmp_path, name):
    SOURCES[name](x, tmp_path / name)
    source = open_source(tmp_path / name)
    assert (source.rows, source.width) == (ROWS, DIM)
    for first, count in ((0, ROWS), (4990, 20), (ROWS - 1, 1), (700, 9000)):
        np.testing.assert_array_equal(source.read(first, count), x[first : first + count])


def test_columns_are_taken_in_the_order_that_is_asked_for(x, tmp_path):
    as_parquet(x, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", ["c2", "c0", "c1"])
    np.testing.assert_array_equal(source.read(5, 7), x[5:12][:, [2, 0, 1]])


def test_rows_are_read_in_any_order_from_pieces_larger_than_what_is_held(x, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_HELD", 1000)
    as_one_piece(x, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    for first, count in ((0, 10), (2500, 3000), (2400, 50), (ROWS - 5, 5), (999, 2), (0, ROWS)):
        np.testing.assert_array_equal(source.read(first, count), x[first : first + count])


def test_a_folder_may_have_more_files_than_a_process_may_open(x, tmp_path):
    for number in range(60):
        as_parquet(x[number : number + 1], tmp_path / f"{number:03d}.parquet")
    few = "import resource, sys; from pathlib import Path; from lunet_export.streaming.sources import open_source\n"
    few += "import pyarrow.parquet; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
    few += "print(open_source(Path(sys.argv[1])).read(0, 60).shape)"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", few, tmp_path], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"(60, {DIM})\n", "")


def test_a_file_that_ends_early_gives_no_other_rows(x, tmp_path):
    """Nor does the read after it: what is held and its number stay together."""
    as_parquet(x, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    source._ends = [end + 100 for end in source._ends]  # a footer that claims more than there is
    for _ in range(2):
        with pytest.raises(DataError, match=r"x\.parquet is not: row 5000 is missing"):
            source.read(4990, 20)
    np.testing.assert_array_equal(source.read(4000, 20), x[4000:4020])


def test_an_unfinished_run_is_no_source(models, data, tmp_path):
    run = Run(tmp_path / "out", SampleJob(str(models / "m0"), 2 * LARGEST_BATCH, place=CPU), LARGEST_BATCH)
    numbers = run.begin(resume=False)
    local(run, numbers[:1])
    with pytest.raises(DataError, match="its run is not complete"):
        open_source(run.folder)
    local(run, numbers[1:])
    run.finish()
    assert open_source(run.folder).rows == 2 * LARGEST_BATCH


def npy_header(path: Path, shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"\0" * 64)


def two_kinds(path: Path) -> None:
    path.mkdir()
    as_parquet(np.ones((2, DIM)), path / "a.parquet")
    as_arrow(np.ones((2, DIM)), path / "b.arrow")


def two_schemas(path: Path) -> None:
    path.mkdir()
    as_parquet(np.ones((2, DIM)), path / "a.parquet")
    as_parquet(np.ones((2, DIM), dtype=int), path / "b.parquet")


BAD = {
    "missing.npy": (lambda path: None, "it does not exist"),
    "empty.npy": (lambda path: path.write_bytes(b""), "a readable .npy file"),
    "no header.npy": (lambda path: npy_header(path, "(3L, ("), "a readable .npy file"),
    "huge.npy": (lambda path: npy_header(path, "(1099511627776, 3)"), "bytes in .* as its header says; got 192"),
    "overflow.npy": (lambda path: npy_header(path, f"({2**62}, {2**62})"), "as its header says"),
    "negative.npy": (lambda path: npy_header(path, "(-1, 3)"), "Expected"),
    "text.npy": (lambda path: np.save(path, np.array([["a"]])), "integers or floats"),
    "objects.npy": (lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "integers or floats"),
    "fortran.npy": (lambda path: np.save(path, np.asfortranarray(np.ones((3, 2)))), "in Fortran order"),
    "flat.npy": (lambda path: np.save(path, np.ones(3)), "rows of integers or floats"),
    "bad.parquet": (lambda path: path.write_bytes(b"PAR1 no PAR1"), "a readable .parquet file"),
    "bad.arrow": (lambda path: path.write_bytes(b"ARROW1"), "a readable .arrow file"),
    "text.parquet": (lambda path: pq.write_table(pa.table({"a": ["b"]}), path), "column a is string"),
    "none.parquet": (lambda path: pq.write_table(pa.table({"a": pa.array([], pa.float32())}), path), "it has none"),
    "other.txt": (lambda path: path.write_text("1"), "a file of .npy, .parquet"),
    "folder": (lambda path: path.mkdir(), "there are none"),
    "two kinds": (lambda path: two_kinds(path), r"those of \.arrow and \.parquet"),
    "two schemas": (lambda path: two_schemas(path), r"one schema; .*b\.parquet has another"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sources_get_one_sentence(tmp_path, name):
    make, sentence = BAD[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=sentence) as caught:
        open_source(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_number_is_no_row(tmp_path):
    pq.write_table(pa.table({"a": pa.array([1.0, None]), "b": [1.0, 2.0]}), tmp_path / "x.parquet")
    assert np.isnan(open_source(tmp_path / "x.parquet").read(0, 2)).tolist() == [[False, False], [True, False]]
    pq.write_table(pa.table({"a": pa.array([1, None]), "b": [1, 2]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="a number is missing in column a"):
        open_source(tmp_path / "x.parquet").read(0, 2)


def test_what_a_killed_process_left_is_no_data_and_is_swept(models, data, x, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    summary = finished(run)
    whole = (run.folder / "part-00000.parquet").read_bytes()
    (run.folder / ".part-00001.abc.parquet").write_bytes(whole)
    (run.folder / ".part-00002.def.parquet").write_bytes(whole[:100])
    assert open_source(run.folder, ["log_prob", "bits_per_dim"]).rows == ROWS
    assert len(pq.read_table(run.folder)) == ROWS  # other readers pass over what is beside
    assert run.begin(resume=True) == []
    assert list(run.folder.glob(".*")) == []
    assert run.finish() == summary


def test_a_source_that_changes_on_the_way_is_noticed(models, data, x, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    local(run, run.begin(resume=False))
    np.save(data, x + 1)
    with pytest.raises(BadInputError, match="it changed"):
        run.finish()


def test_models_are_mixed_draw_by_draw(exported, tmp_path):
    """log of the mean is no mean of logs: with several draws of the noise each is mixed by itself."""
    export(network(16, 3, seed=1, preprocessing=NAMED["digits"]), tmp_path / "other", Provenance("other"))
    grey = np.random.default_rng(0).integers(0, 17, (30, 16), dtype=np.uint8)
    np.save(tmp_path / "grey.npy", grey)
    folders = (str(exported.folder), str(tmp_path / "other"))
    table = ScoreJob(folders, str(tmp_path / "grey.npy"), draws=3, seed=2, place=CPU).work()(0, 30)
    flows = [ExportedFlow(folder, provider="cpu", threads=1) for folder in folders]
    mixed = []
    for draw in range(3):
        noisy = dequantize(grey, noise.uniform(2, range(30), 16, draw=draw).astype(np.float32))
        each = np.stack([flow.log_prob(noisy).astype(float) for flow in flows], axis=1)
        mixed.append(reference.mixture_log_prob(each, (0.5, 0.5)))
    np.testing.assert_allclose(table["log_prob"], np.mean(mixed, axis=0), rtol=1e-12)


def test_models_of_another_preprocessing_are_refused(models, tmp_path):
    export(network(4, 2), tmp_path / "plain", Provenance("plain"))
    np.save(tmp_path / "x.npy", np.ones((2, 4)))
    with pytest.raises(BadInputError, match="models of one pre-processing"):
        ScoreJob((str(models / "images"), str(tmp_path / "plain")), str(tmp_path / "x.npy"))


def test_grey_levels_get_the_noise_of_their_row(models, tmp_path):
    grey = np.random.default_rng(0).integers(0, 17, (LARGEST_BATCH + 50, 2, 2), dtype=np.uint8)
    np.save(tmp_path / "grey.npy", grey)
    run = Run(tmp_path / "out", job_of(models, tmp_path / "grey.npy", "images", draws=2, seed=5), LARGEST_BATCH)
    finished(run)
    flow = ExportedFlow(models / "images", provider="cpu", threads=1)
    np.testing.assert_array_equal(column(run, "log_prob"), score(flow, grey, draws=2, seed=5))


def test_models_together_are_their_mixture(models, data, x, tmp_path):
    weights = (0.5, 0.3, 0.2)
    run = Run(tmp_path / "out", job_of(models, data, "m0", "m1", "m2", weights=weights), LARGEST_BATCH)
    finished(run)
    each = np.stack([reference.log_prob(network(DIM, 2, seed=seed), x[:50].astype(float)) for seed in range(3)])
    exact = reference.mixture_log_prob(each.T, weights)
    np.testing.assert_allclose(column(run, "log_prob")[:50], exact, rtol=1e-5)
    np.testing.assert_allclose(column(run, "log_prob_2")[:50], each[2], rtol=1e-5)


def test_a_network_a_class_gives_its_classes(exported_classes, tmp_path):
    rows = np.random.default_rng(0).uniform(0, 17, (60, 16))
    np.save(tmp_path / "x.npy", rows)
    run = Run(tmp_path / "out", ScoreJob((str(exported_classes.folder),), str(tmp_path / "x.npy"), place=CPU))
    finished(run)
    flow = ExportedClasses(exported_classes.folder, provider="cpu", threads=1)
    assert column(run, "class").tolist() == [flow.names[number] for number in flow.classify(rows)]


@pytest.mark.parametrize("invalid", ["stop", "nan"])
def test_rows_that_no_graph_takes(models, tmp_path, invalid):
    rows = np.random.default_rng(0).uniform(0.1, 0.9, (LARGEST_BATCH + 10, 4))
    rows[LARGEST_BATCH + 3, 2], rows[7, 0] = np.nan, 1.5
    np.save(tmp_path / "x.npy", rows)
    run = Run(tmp_path / "out", job_of(models, tmp_path / "x.npy", "interval", invalid=invalid), LARGEST_BATCH)
    if invalid == "stop":
        with pytest.raises(BadInputError, match=r"Expected finite rows inside the domain; row 7 is not: .*1\.5"):
            finished(run)
        return
    assert finished(run).invalid == 2
    found = column(run, "log_prob")
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [7, LARGEST_BATCH + 3])
    good = np.delete(rows, [7, LARGEST_BATCH + 3], axis=0)
    plain = score(ExportedFlow(models / "interval", provider="cpu", threads=1), good)
    np.testing.assert_allclose(np.delete(found, [7, LARGEST_BATCH + 3]), plain, rtol=1e-6)


def test_samples_are_those_of_one_call(models, exported_classes, tmp_path):
    count = LARGEST_BATCH + 77
    run = Run(
        tmp_path / "out", SampleJob(str(models / "m0"), count, seed=3, with_log_prob=True, place=CPU), LARGEST_BATCH
    )
    finished(run)
    x, log_prob = ExportedFlow(models / "m0", provider="cpu", threads=1).sample_and_log_prob(count, seed=3)
    np.testing.assert_array_equal(column(run, "x"), x)
    np.testing.assert_array_equal(column(run, "log_prob"), log_prob)
    run = Run(tmp_path / "classes", SampleJob(str(exported_classes.folder), count, seed=3, place=CPU), LARGEST_BATCH)
    finished(run)
    flow = ExportedClasses(exported_classes.folder, provider="cpu", threads=1)
    np.testing.assert_array_equal(column(run, "label"), flow.labels(count, seed=3))
    np.testing.assert_allclose(column(run, "x"), flow.sample(count, seed=3), rtol=1e-5, atol=1e-4)


def test_a_run_goes_on_where_it_stopped_and_no_other_does(models, data, tmp_path):
    whole, broken = (Run(tmp_path / name, job_of(models, data), LARGEST_BATCH) for name in ("whole", "broken"))
    finished(whole)
    local(broken, broken.begin(resume=False)[:2])
    with pytest.raises(BadInputError, match=r"part 2 .* missing or altered"):
        broken.finish()
    with pytest.raises(BadInputError, match="Give --resume"):
        broken.begin(resume=False)
    other = Run(tmp_path / "broken", job_of(models, data, seed=1), LARGEST_BATCH)
    with pytest.raises(BadInputError, match="its job is another"):
        other.begin(resume=True)
    missing = broken.begin(resume=True)
    assert missing == [2, 3]
    local(broken, missing)
    assert broken.finish() == whole.finish()
    for path in whole.folder.iterdir():
        assert (broken.folder / path.name).read_bytes() == path.read_bytes()


def test_an_altered_part_is_computed_again(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    summary = finished(run)
    path = run.folder / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with pytest.raises(BadInputError, match=r"part 1 .* missing or altered"):
        run.finish()
    assert run.begin(resume=True) == [1]
    local(run, [1])
    assert run.finish() == summary


def test_another_folder_is_left_alone(models, data, tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("thesis.tex", ".part-of-it"):
        (tmp_path / "mine" / name).write_text("x")
    with pytest.raises(BadInputError, match="holds other files"):
        Run(tmp_path / "mine", job_of(models, data)).begin(resume=False)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [".part-of-it", "thesis.tex"]


@pytest.mark.parametrize(
    ("settings", "sentence"), [({"rows_per_part": 1000}, "a multiple of 4096"), ({"format": "csv"}, "a --format of")]
)
def test_settings_of_a_run(models, data, tmp_path, settings, sentence):
    with pytest.raises(BadInputError, match=sentence):
        Run(tmp_path / "out", job_of(models, data), **settings)


def test_models_of_another_width_are_refused(models, data):
    with pytest.raises(BadInputError, match="one width; got 3, 4"):
        job_of(models, data, "m0", "images")


def test_a_file_that_breaks_off_is_not_there(tmp_path):
    def broken() -> None:
        with writer(tmp_path / "x.parquet", 3) as file:
            file.append({"a": np.ones(3)})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from lunet_export.streaming import Run, ScoreJob, local
from lunet_export.streaming.jobs import Place
model, data, out = sys.argv[1:]
run = Run(Path(out), ScoreJob((model,), data, place=Place("cpu", 1)), 4096)
done = []
def progress(rows):
    done.append(rows)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
local(run, run.begin(resume=False), progress)
"""


def test_a_killed_process_leaves_whole_parts_and_the_rest_is_done_later(models, data, tmp_path):
    whole = Run(tmp_path / "whole", job_of(models, data), LARGEST_BATCH)
    finished(whole)
    arguments = [sys.executable, "-c", KILLED, models / "m0", data, tmp_path / "killed"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL
    run = Run(tmp_path / "killed", job_of(models, data), LARGEST_BATCH)
    assert run.begin(resume=True) == [2, 3]
    local(run, [2, 3])
    assert run.finish() == whole.finish()
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == {
        path.name: path.read_bytes() for path in whole.folder.iterdir()
    }


class Deadly(ScoreJob):
    """Work that takes the process with it, as one that runs out of memory."""

    def work(self):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def ray():
    """A small cluster on this machine."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    paths = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=50, runtime_env={"env_vars": paths}
    )
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # of one part of Ray about another
@pytest.mark.parametrize("kill", [False, True])
def test_ray_gives_the_same_even_when_a_worker_dies(models, data, tmp_path, ray, kill):
    """Killed after its first part; the parts that it had begun are done again, and none is there twice."""
    whole, shared = (Run(tmp_path / name, job_of(models, data), LARGEST_BATCH) for name in ("whole", "shared"))
    finished(whole)
    seen = []

    def watch(process: int) -> None:
        if kill and not seen:
            os.kill(process, signal.SIGKILL)
        seen.append(process)

    on_ray(shared, shared.begin(resume=False), workers=2, on_part=watch)
    assert shared.finish() == whole.finish()
    assert len(seen) == 4
    for path in whole.folder.glob("part-*"):
        assert (shared.folder / path.name).read_bytes() == path.read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_a_disk_that_refuses_a_worker_is_the_operating_systems_error(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    numbers = run.begin(resume=False)
    (tmp_path / "out" / "part-00000.parquet").mkdir()  # where a file must go
    with pytest.raises((OSError, BadInputError), match="folder"):
        on_ray(run, numbers, workers=1)


@pytest.mark.filterwarnings("ignore")
def test_a_part_that_kills_every_worker_comes_to_an_end(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", Deadly((str(models / "m0"),), str(data), place=CPU), 16 * LARGEST_BATCH)
    with pytest.raises(BadInputError, match="5 workers died over it"):
        on_ray(run, run.begin(resume=False), workers=1)


@pytest.mark.filterwarnings("ignore")
def test_rays_workers_say_what_is_wrong(models, tmp_path, ray):
    np.save(tmp_path / "x.npy", np.full((10, DIM), np.nan))
    run = Run(tmp_path / "out", job_of(models, tmp_path / "x.npy"), LARGEST_BATCH)
    with pytest.raises(BadInputError, match="Expected finite rows inside the domain; row 0 is not"):
        on_ray(run, run.begin(resume=False), workers=1)


def test_text_is_as_wide_in_every_part(exported_classes, tmp_path, monkeypatch):
    """An .npy file has one width for all its names; those of the first rows may be shorter than those of the next."""
    names = ("a", "a much longer name", *(f"c{number}" for number in range(2, 10)))
    flow = ExportedClasses(exported_classes.folder, provider="cpu", threads=1)
    flow.names = names
    monkeypatch.setattr(Place, "open", lambda place, folder: flow)
    rows = np.random.default_rng(0).uniform(0, 17, (60, 16))
    rows[3] = np.nan
    np.save(tmp_path / "x.npy", rows)
    job = ScoreJob((str(exported_classes.folder),), str(tmp_path / "x.npy"), invalid="nan", place=CPU)
    work = job.work()
    write_rows(tmp_path / "out.npy", work, 0, 60, 4)
    write_rows(tmp_path / "out.parquet", work, 0, 60, 4)
    found, expected = np.load(tmp_path / "out.npy"), read(tmp_path / "out.parquet")
    assert set(found["class"]) <= {"", *names}
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values.tolist(), nan_ok=True) if name != "class" else True
    assert found["class"].tolist() == expected["class"].tolist()
    assert found["class"][3] == ""


def test_parts_are_in_the_order_of_their_names(models):
    run = Run(Path("out"), SampleJob(str(models / "m0"), 100_001 * LARGEST_BATCH, place=CPU), LARGEST_BATCH)
    names = [run._name(number) for number in (0, 99_999, 100_000)]
    assert names == sorted(names)
    assert Run(Path("out"), SampleJob(str(models / "m0"), 10, place=CPU))._name(0) == "part-00000"


def test_sums_do_not_depend_on_the_split(models, data, tmp_path):
    summaries = []
    for rows_per_part in (LARGEST_BATCH, 2 * LARGEST_BATCH, 16 * LARGEST_BATCH):
        summaries.append(finished(Run(tmp_path / str(rows_per_part), job_of(models, data), rows_per_part)))
    assert summaries[0] == summaries[1] == summaries[2]
    scores = column(Run(tmp_path / str(LARGEST_BATCH), job_of(models, data), LARGEST_BATCH), "log_prob")
    assert summaries[0].sums["log_prob"] == fsum(scores)


def test_a_worker_refuses_other_files_than_those_of_the_run(models, data, x, tmp_path):
    """As it would find them on a machine that does not share the storage."""
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    run.begin(resume=False)
    seen_here = pickle.loads(pickle.dumps(run))
    np.save(data, x[:-1])
    answer = _Actor(seen_here)({"number": 0})
    assert answer["kind"] == "BadInputError"
    assert "Expected the source that" in answer["error"]
    assert [path.name for path in run.folder.glob("part-*")] == []


def test_a_worker_refuses_a_folder_that_it_does_not_see(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    run.begin(resume=False)
    shutil.rmtree(run.folder)
    answer = _Actor(run)({"number": 0})
    assert (answer["kind"], "there is no _run.json on" in answer["error"]) == ("BadInputError", True)
    assert not run.folder.exists()


def test_a_run_that_died_before_it_began_may_begin(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    run.folder.mkdir()
    (run.folder / "._run.abc.json").write_text("{")
    assert run.begin(resume=False) == [0, 1, 2, 3]
    assert [path.name for path in run.folder.iterdir()] == ["_run.json"]


@pytest.mark.filterwarnings("ignore")
def test_rays_workers_find_relative_paths(models, data, tmp_path, ray, monkeypatch):
    """Their working directory is the cluster's."""
    monkeypatch.chdir(tmp_path)
    model = os.path.relpath(models / "m0", tmp_path)
    run = Run(Path("out"), ScoreJob((model,), data.name, place=CPU), LARGEST_BATCH)
    on_ray(run, run.begin(resume=False), workers=1)
    assert run.finish().rows == ROWS


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_without_gpus_is_not_waited_for(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", ScoreJob((str(models / "m0"),), str(data), place=Place("cuda")), LARGEST_BATCH)
    with pytest.raises(ProviderError, match="Expected GPUs in the Ray cluster for --provider cuda; it has none"):
        on_ray(run, run.begin(resume=False), workers=1)


def test_a_cluster_that_is_not_there_is_said_at_once():
    with pytest.raises(BadInputError, match=r"Expected a Ray cluster at 127\.0\.0\.1:1; .*ray start"):
        _refuse_silent("127.0.0.1:1")


@pytest.mark.parametrize(("package", "extra"), [("pyarrow", "scale"), ("ray", "ray")])
def test_a_package_that_is_missing_is_named_with_its_extra(models, data, tmp_path, monkeypatch, package, extra):
    run = Run(tmp_path / "out", job_of(models, data))
    numbers = run.begin(resume=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"pip install 'lunet-export\[{extra}\]'"):
        local(run, numbers) if package == "pyarrow" else on_ray(run, numbers)
    assert list(run.folder.glob("*part*")) == []


class DiesAtItsStart(ScoreJob):
    """The first process that receives the job dies, as one whose machine is taken away."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        try:
            Path(self.source).with_suffix(".dead").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore")
def test_a_worker_may_die_before_its_first_part(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", DiesAtItsStart((str(models / "m0"),), str(data), place=CPU), LARGEST_BATCH)
    on_ray(run, run.begin(resume=False), workers=1)
    assert data.with_suffix(".dead").exists()
    assert run.finish().rows == ROWS
