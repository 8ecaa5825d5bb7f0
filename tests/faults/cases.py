"""The commands that write, on models of a few numbers: what each is given, and how one goes on after a fault."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Run = Callable[[list[str], Path], None]  # of a command that must succeed, and the folder it runs in

#: One network of 3 numbers, 2 epochs of 60 rows each.
_TRAIN = ["train", "{base}/data.npy", "--blocks", "2", "--epochs", "3", "--init", "bend", "--optimizer", "adam"]
_SCORE = ["score", "{base}/small", "{base}/x.npy", "--provider", "cpu", "--threads", "1"]
_SAMPLE = ["sample", "{base}/small", "-n", "9000", "--provider", "cpu", "--threads", "1"]
_PARTS = ["--rows-per-part", "4096"]
#: Of a flow whose context is the third column of its rows.
_GIVEN = ["--context-columns", "3"]
_SCORE_GIVEN = ["score", "{base}/given", "{base}/plane.npy", "--context", "0.5", "--provider", "cpu", "--threads", "1"]
_SAMPLE_GIVEN = [
    "sample", "{base}/given", "-n", "9000", "--context", "0.5", "--provider", "cpu", "--threads", "1"
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command into the folder {out}, which may hold something already.

    Attributes:
        arguments: Of the command line; {base} is the folder of inputs.
        begins_with: Entries of {base} and their names in {out}: what is there before.
        resumes: The file by which one sees that the command has begun; it goes on with --resume.
        last: The file that is there once it is done, where --force is needed to do it again. "": it may be repeated.
        pieces: What it writes appears file by file.
        varies: What it writes holds times and is not the same twice.
    """

    arguments: tuple[str, ...]
    begins_with: dict[str, str] = field(default_factory=dict)
    resumes: str = ""
    last: str = ""
    pieces: bool = False
    varies: bool = False

    def prepare(self, base: Path, out: Path) -> None:
        """Make {out} anew."""
        if out.exists():
            shutil.rmtree(out)
        out.mkdir()
        for source, name in self.begins_with.items():
            (shutil.copytree if (base / source).is_dir() else shutil.copy2)(base / source, out / name)

    def filled(self, base: Path, out: Path, *more: str) -> list[str]:
        """The command line."""
        return [part.format(base=base, out=out) for part in self.arguments] + list(more)

    def again(self, base: Path, out: Path) -> list[str]:
        """The command line that goes on, or begins again, after a fault."""
        more = []
        if self.resumes and (out / self.resumes).exists() and not {"--resume", "--force"} & {*self.arguments}:
            more = ["--resume"]
        return self.filled(base, out, *more)


def _into(command: list[str], name: str, *more: str, **rest) -> Case:
    return Case((*command, "-o", f"{{out}}/{name}", *more), **rest)


_RUN = {f"old{end}": f"m{end}" for end in (".pt", ".resume.pt", ".history.json", ".png")}
_HALF = {f"half{end}": f"m{end}" for end in (".pt", ".resume.pt", ".history.json")}

CASES: dict[str, Case] = {
    "train": _into(_TRAIN, "m.pt", resumes="m.resume.pt", last="m.png", pieces=True),
    "train --force": _into(_TRAIN, "m.pt", "--force", begins_with=_RUN, pieces=True),
    "train --resume": _into(_TRAIN, "m.pt", "--resume", begins_with=_HALF, pieces=True),
    "train --flow jko": _into(
        [
            "train",
            "{base}/plane.npy",
            "--flow",
            "jko",
            "--blocks",
            "2",
            "--epochs",
            "2",
            "--width",
            "4",
            "--rounds",
            "0",
        ],
        "m.pt",
        resumes="m.resume.pt",
        last="m.png",
        pieces=True,
    ),
    "train --per-class": _into(
        ["train", "digits", "--per-class", "--blocks", "1", "--epochs", "1"],
        "m.pt",
        resumes="m.classes/0.resume.pt",
        last="m.pt",
        pieces=True,
    ),
    "train --context-columns": _into([*_TRAIN, *_GIVEN], "m.pt", resumes="m.resume.pt", last="m.png", pieces=True),
    "export": _into(["export", "{base}/small.pt"], "small", last="small/manifest.json"),
    "export of a conditional flow": _into(["export", "{base}/given.pt"], "given", last="given/manifest.json"),
    "export --force": _into(["export", "{base}/small.pt"], "small", "--force", begins_with={"other": "small"}),
    "export --for-verifier": _into(["export", "{base}/relu.pt", "--for-verifier"], "small", last="small/verifier.json"),
    "import": _into(["import", "nflows", "{base}/nflows.pt"], "m.pt", last="m.pt"),
    "recalibrate": _into(["recalibrate", "{base}/small.pt", "{base}/data.npy"], "m.pt", last="m.pt"),
    "recalibrate --force": _into(
        ["recalibrate", "{base}/small.pt", "{base}/data.npy"], "m.pt", "--force", begins_with={"other.pt": "m.pt"}
    ),
    "score to a folder": _into(
        _SCORE, "scores", *_PARTS, resumes="scores/_run.json", last="scores/_run.json", pieces=True
    ),
    "score to a file": _into(_SCORE, "scores.parquet", last="scores.parquet"),
    "score at a context": _into(_SCORE_GIVEN, "scores.parquet", last="scores.parquet"),
    "sample at a context": _into(
        _SAMPLE_GIVEN,
        "samples",
        *_PARTS,
        "--format",
        "npy",
        resumes="samples/_run.json",
        last="samples/_run.json",
        pieces=True,
    ),
    "score over a file": _into(_SCORE, "scores.csv", "--force", begins_with={"old.csv": "scores.csv"}),
    "sample to a folder": _into(
        _SAMPLE,
        "samples",
        *_PARTS,
        "--format",
        "npy",
        resumes="samples/_run.json",
        last="samples/_run.json",
        pieces=True,
    ),
    "sample to a file": _into(_SAMPLE, "samples.npy", last="samples.npy"),
    "check --report": Case(
        ("check", "{base}/small", "--provider", "cpu", "--report", "{out}/report.json"), pieces=True, varies=True
    ),
    "plot": _into(["plot", "latents", "{base}/small.pt", "{base}/data.npy"], "latents.png"),
    "diagnose --plot": Case(
        ("diagnose", "{base}/small.pt", "{base}/data.npy", "--plot", "{out}/ppca.png"),
    ),
    "embed": _into(["embed", "{base}/small", "--language", "c"], "project", last="project/model/manifest.json"),
    "embed --force": _into(
        ["embed", "{base}/small", "--language", "c"], "project", "--force", begins_with={"project": "project"}
    ),
    "triton": _into(["triton", "{base}/small"], "repository", last="repository", pieces=True),
}


def make_inputs(base: Path, run: Run) -> None:
    """Write what the commands are given into an empty folder."""
    import torch
    from nflows import distributions, flows, transforms

    rng = np.random.default_rng(0)
    np.save(base / "data.npy", rng.standard_normal((80, 3)) @ [[1, 0, 0], [0.8, 0.5, 0], [-0.3, 0.4, 0.2]])
    np.save(base / "plane.npy", rng.standard_normal((80, 2)))
    np.save(base / "x.npy", rng.standard_normal((2 * 4096 + 100, 3)).astype(np.float32))
    (base / "old.csv").write_text("row,log_prob_nats\n0,1.0\n")
    torch.manual_seed(0)
    layers = [transforms.LULinear(3), transforms.LULinear(3)]
    flow = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([3]))
    torch.save(flow.state_dict(), base / "nflows.pt")

    def train(name: str, *more: str) -> None:
        run([*_filled(_TRAIN, base), *more, "-o", str(base / name)], base)

    train("small.pt")
    train("old.pt", "--seed", "1")
    train("other.pt", "--seed", "2")
    train("relu.pt", "--activation", "leaky-relu")
    train("given.pt", *_GIVEN)
    for model in ("small", "other", "given"):
        run(["export", str(base / f"{model}.pt"), "-o", str(base / model)], base)
    run(["embed", str(base / "other"), "--language", "c", "-o", str(base / "project")], base)
    (base / "project" / "mine.txt").write_text("mine")
    (base / "project" / "model" / "notes.txt").write_text("mine too")


def _filled(arguments: list[str], base: Path) -> list[str]:
    return [part.format(base=base, out="") for part in arguments]
