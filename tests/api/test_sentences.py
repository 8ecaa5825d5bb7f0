"""Sentences name Python's arguments in Python, and options on the command line."""

import ast
import json
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.main import get_command

import lunet_export
from lunet_cli import output
from lunet_cli.arguments import ARGUMENT, in_options, spoken_of
from lunet_cli.doctor import in_words
from lunet_cli.main import app
from lunet_export import ExportedFlow
from lunet_export.errors import LunetExportError
from lunet_export.flows import layered
from lunet_export.layers import Affine
from lunet_export.runtime.doctor import Attempt, examine
from tests.api.conftest import OPTIONS, rows
from tests.cli.conftest import run
from tests.conftest import ROOT
from tests.networks import mixture, network

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
#: An option in a sentence, where no command is written out that can be pasted.
OPTION = re.compile(r"(?<![\w-])-(?:-[a-z][\w-]*|[a-z]\b)")
PASTED = re.compile(r"lunet-export( [a-z-]+)? .*|(pip|npm|ssh-keygen|ray|cut|python) .*")
#: Modules whose own words these are: programs of their own, and texts that are written into files.
OWN = {
    "bench/memory.py",
    "export/readme.py",
    "bench/report.py",
    "embedding/project.py",
    "embedding/triton_client.py",
    "embedding/web_runtime.py",
    "embedding/triton.py",
    "data/numbering.py",
}


def strings(source: str) -> Iterator[str]:
    """All texts of a program but docstrings; those in braces of an f-string are `{}`."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    written = (node for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node))
    skipped = {id(node.body[0].value) for node in written}  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def sentences() -> Iterator[tuple[str, str]]:
    """Where, and each text of the package that ends or begins as a sentence does."""
    package = Path(lunet_export.__file__).parent
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name not in OWN:
            yield from ((name, text) for text in strings(path.read_text(encoding="utf-8")) if " " in text)


def test_no_sentence_of_the_package_names_an_option():
    found = [(name, text) for name, text in sentences() if OPTION.search(PASTED.sub("", text))]
    assert [text for _, text in found if "container" not in text] == []  # whose options Docker has


def test_every_argument_in_a_sentence_has_an_option():
    named = {found["name"] for _, text in sentences() for found in ARGUMENT.finditer(text)}
    assert len(named) > 30
    with spoken_of(COMMANDS):
        kept = {name for name in named if in_options(f"`{name}`") == f"`{name}`"}
    assert kept == {"train", "layered"}  # which are functions


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("Export with `dtype='float64'`.", "Export with --dtype float64."),
        ("Give `force=True` or another path.", "Give --force or another path."),
        ("Expected no `blocks` with `begin`.", "Expected no --blocks with --from."),
        ("Leave `regulariser_weight` out.", "Leave --reg-weight out."),
        ("Give `levels=17`, or `fallback=False`.", "Give --levels 17, or --no-fallback."),
        ("Try `whitened=False`.", "Try --plain."),
        ("Give `query='a b'`.", "Give --query 'a b'."),
        ("Give a smaller `n`.", "Give a smaller -n."),
        ("`train` writes it; `nothing='x'`, `lunet-export sign`, `x'`.", None),
        ("Expected `dtype=broken(`.", None),
    ],
)
def test_a_command_names_its_options(sentence, said):
    with spoken_of(COMMANDS):
        assert in_options(sentence) == (said or sentence)
    assert in_options(sentence) == sentence  # of no command


@pytest.fixture
def made(both, tmp_path, monkeypatch):
    """A folder with a model and an export, and what is wrong with them."""
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", rows())
    np.savetxt("words.csv", [["1", "a"], ["2", "b"]], fmt="%s", delimiter=",", header="x,y", comments="")
    np.save("grey.npy", np.full((20, 4), 300))
    np.save("named.npy", rows(20))
    Path("folder").symlink_to(both.folder / "python" / "lobes")
    Path("model.pt").symlink_to(both.model)
    torch.save({"latent_mean": torch.zeros(2), "latent_covariance": torch.eye(2)}, "stats.pth")
    for end in (".pt", ".resume.pt", ".history.json"):
        shutil.copy(both.model.with_suffix(end), f"run{end}")
    return tmp_path


def train(*given, **choices):
    """Train, quickly where nothing is wrong."""
    lunet_export.train(*given, **{**OPTIONS, "progress": False, **choices})


def beyond_float32():
    """A flow whose scales float32 does not hold."""
    return layered(2, [Affine(np.full(2, 1e200), np.zeros(2))])


CLASSES = ROOT / "exported" / "digits-classes.pt"
IMAGES = np.random.default_rng(0).integers(0, 17, (60, 4, 4))
#: What is wrong in Python, with the argument that its sentence names; None where it names none.
WRONG = {
    "a model that is there": (lambda: train(rows(), "model.pt"), "`force=True`"),
    "a shape beside a start": (lambda: train(rows(), begin="model.pt"), "`begin`"),
    "per class of another kind": (lambda: train(rows(), flow="jko", per_class=True), "`per_class=True`"),
    "splines per class": (lambda: train(rows(), activation="spline", per_class=True), "`activation='spline'`"),
    "an alpha of splines": (lambda: train(rows(), activation="spline", alpha=0.5), "`alpha`"),
    "vectors for images": (lambda: train(rows(), flow="realnvp", blocks=None), "`flow='realnvp'`"),
    "grey levels twice": (lambda: train(IMAGES, dequantize=True), "`dequantize`"),
    "no file to go on from": (lambda: train(rows(), "new.pt", resume=True), "`resume`"),
    "other settings": (lambda: train(rows(), "run.pt", resume=True, seed=5), "`force=True`"),
    "an unknown column": (lambda: train("rows.npy", columns=["x"]), "`columns`"),
    "a column twice": (lambda: train("rows.npy", columns=[1, 1]), "`columns`"),
    "words": (lambda: train("words.csv"), "`columns`"),
    "no label": (lambda: train(rows(), per_class=True), "`label`"),
    "a label of a named set": (lambda: train("digits", label="x"), "`label`"),
    "levels of a named set": (lambda: train("digits", levels=4), "`levels`"),
    "too many levels": (lambda: train("grey.npy"), "`levels`"),
    "one level": (lambda: train(IMAGES, levels=1), "`levels=1`"),
    "no MNIST": (lambda: train("mnist", data_dir="nowhere"), "`data_dir`"),
    "a width of lunet": (lambda: train(rows(), width=3), "`width`"),
    "blocks of a RealNVP": (lambda: train(rows(), flow="realnvp-dense"), "`blocks`"),
    "an alpha of a JKO-iFlow": (lambda: train(rows(), flow="jko", alpha=0.5), "`alpha`"),
    "rounds of lunet": (lambda: train(rows(), rounds=2), "`rounds`"),
    "growth in 64-D": (lambda: train("digits", init="greedy"), "`init='bend'`"),
    "a rate that diverges": (lambda: train(rows(), learning_rate=1e30), "`learning_rate`"),
    "a file of another name": (lambda: lunet_export.save(network(2, 2), "x.bin"), None),
    "a file that is there": (lambda: lunet_export.save(network(2, 2), "model.pt"), "`force=True`"),
    "a pre-processing of ours": (lambda: lunet_export.load("model.pt", preprocess="paper"), "`preprocess`"),
    "statistics of classes": (lambda: lunet_export.load(CLASSES, latent_stats="stats.pth"), "`latent_stats`"),
    "a folder that is there": (lambda: lunet_export.export("model.pt", "folder"), "`force=True`"),
    "a folder that is a file": (lambda: lunet_export.export("model.pt", "rows.npy"), None),
    "a tile of fused": (lambda: lunet_export.export("model.pt", "x", solver="fused", tile=2), "`tile`"),
    "a tile of auto": (lambda: lunet_export.export("model.pt", "x", solver="auto", tile=2), "`tile`"),
    "a large tile": (lambda: lunet_export.export("model.pt", "x", tile=99), "`tile`"),
    "steps of lunet": (lambda: lunet_export.export("model.pt", "x", steps=3), "`steps`"),
    "a draw of classes": (lambda: lunet_export.export(mixture(2, 2), "x", rng=True), "`rng`"),
    "weights beyond float32": (lambda: lunet_export.export(beyond_float32(), "x"), "`dtype='float64'`"),
    "no such graph": (lambda: ExportedFlow("folder", provider="cpu").draw(3), "`rng=True`"),
    "no such graph either": (lambda: ExportedFlow("folder").decode_with_log_prob([[0, 0]]), "`with_log_prob=True`"),
    "a row far out": (lambda: ExportedFlow("folder").log_prob([[1e30, 1e30]]), "`dtype='float64'`"),
    "threads beyond all": (lambda: ExportedFlow("folder", threads=10**6), "`threads`"),
    "no CUDA": (lambda: ExportedFlow("folder", provider="cuda"), None),
    "another model": (lambda: lunet_export.check("folder", model=network(2, 2)), None),
    "no module of ours": (lambda: lunet_export.convert(torch.nn.Linear(2, 2)), None),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore")
def test_python_names_its_arguments(name, made):
    use, named = WRONG[name]
    with pytest.raises(LunetExportError) as caught:
        use()
    sentence = str(caught.value)
    assert not OPTION.search(PASTED.sub("", sentence)), sentence
    assert named is None or named in sentence, sentence
    for found in ARGUMENT.finditer(sentence):
        with spoken_of(COMMANDS):
            assert in_options(found[0]).startswith("-"), sentence


def test_warnings_name_arguments_too(made):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        train(np.round(rows() * 3))
    assert any("Give `dequantize=True`, which" in str(each.message) for each in seen)
    assert not [each for each in seen if OPTION.search(PASTED.sub("", str(each.message)))]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "rows.npy", "-o", "model.pt"], "Give --resume, --force or another path."),
        (["train", "rows.npy", "-o", "x.pt", "--from", "model.pt", "--blocks", 2], "Expected no --blocks, --alpha"),
        (["train", "rows.npy", "-o", "x.pt", "--flow", "realnvp"], "Expected images for --flow realnvp;"),
        (["train", "words.csv", "-o", "x.pt"], "leave its column out by --columns"),
        (["train", "grey.npy", "-o", "x.pt"], "Give --levels, or save floats."),
        (["export", "model.pt", "-o", "folder"], "Give another path, or --force."),
        (["export", "model.pt", "-o", "x", "--solver", "fused", "--tile", 2], "Expected no --tile with --solver fused"),
    ],
)
def test_the_commands_name_their_options(arguments, said, made):
    code, _, err = run(*arguments)
    assert (code, said in err) == (2, True), err
    assert "`" not in err
    assert said in json.loads(run(*arguments, "--json")[1])["error"]


def test_a_warning_of_a_command_names_its_options(made):
    np.save("counts.npy", np.round(rows() * 3))
    quick = ("--epochs", 1, "--init", "bend", "--optimizer", "adam")
    code, out, err = run("train", "counts.npy", "-o", "x.pt", *quick, "--json")
    assert (code, "Give --dequantize, which" in err, "Give --dequantize, which" in out) == (0, True, True)


def test_what_is_no_sentence_of_ours_stays_as_it_is(capsys):
    """A name in a manifest, say: results are not rewritten, sentences are where they are made."""
    with spoken_of(COMMANDS):
        output.pairs([("a", "Use `provider='cpu'`.")])
        output.say("Use `provider='cpu'`.")
        output.write({"a": ["Use `provider='cpu'`."]})
        output.complain("Use `provider='cpu'`.")
    printed = capsys.readouterr()
    assert printed.out.count("Use `provider='cpu'`.") == 3
    assert printed.err == "lunet-export: Use --provider cpu.\n"


def test_the_report_of_a_machine_names_options():
    attempt = Attempt("cuda", runs=False, problem="Use `provider='cpu'`.")
    report = examine()
    with spoken_of(COMMANDS):
        said = in_words(replace(report, clash="Use `provider='cpu'`.", attempts=[attempt]))
    assert (said.clash, said.attempts[0].problem, said.room) == ("Use --provider cpu.",) * 2 + (report.room,)


def test_an_option_in_a_sentence_is_seen():
    assert OPTION.search("Give --force.")
    assert OPTION.search("Give another -o.")
    assert not OPTION.search("a well-known f-string of leaky-relu")
    assert list(strings('"""a --b."""\nraise X(f"a {b} --c", "--d")')) == ["a {} --c", "--d"]
