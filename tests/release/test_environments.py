"""What each extra promises alone: a test makes a fresh environment, and asks it everything."""

import json
import shutil

import pytest

import lunet_export
from tests.conftest import ROOT
from tests.release.conftest import PATH, PIP_ARGS, TOOLS, ran

TOY = ROOT / "exported" / "toy2d"
HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "scipy",
    "scikit-learn",
    "matplotlib",
    "pillow",
    "pyarrow",
    "ray",
}


def installed(environment) -> set[str]:
    done = ran(TOOLS, "-m", "pip", "--python", environment.python, "list", "--format", "json")
    return {entry["name"].lower().replace("_", "-") for entry in json.loads(done.out)}


def refused(done, code: int, *words: str) -> None:
    """One sentence on stderr, nothing on stdout."""
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done
    assert all(word in done.err for word in words), done.err


@pytest.fixture
def here(tmp_path):
    """A folder with exports to read, far from the repository."""
    for name in ("toy2d", "digits"):
        shutil.copytree(ROOT / "exported" / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("of", ["wheel", "sdist"])
def test_the_core_says_what_is_missing(of, install, here):
    env = install(of=of)
    assert installed(env) & HEAVY == set()
    assert env.run("--version", cwd=here).out == f"lunet-export {lunet_export.__version__}\n"
    assert "Train" in env.run("--help", cwd=here).out
    done = env.imports("import lunet_export; print(lunet_export.__version__, lunet_export.__file__)", here)
    version, file = done.out.split()
    assert (version, str(env.folder) in file) == (lunet_export.__version__, True)
    assert env.run("verify", "toy2d", cwd=here).code == 0
    assert env.run("inspect", "toy2d", cwd=here).code == 0
    for arguments in (["sample", "toy2d", "-o", "x.npy"], ["check", "toy2d"], ["bench", "toy2d"]):
        refused(
            env.run(*arguments, cwd=here),
            2,
            "Expected ONNX Runtime; it is not installed",
            "lunet-export[cpu] @ file://",
        )
    for arguments in (["train", "two-moons", "-o", "m.pt"], ["toy.pt"]):
        refused(env.run(*arguments, cwd=here), 2, "it is not installed", "lunet-export[train] @ file://")
    assert {path.name for path in here.iterdir()} == {"toy2d", "digits"}
    pasted(env.run("sample", "toy2d", "-o", "x.npy", cwd=here).err, here)
    assert env.run("sample", "toy2d", "-o", "x.npy", cwd=here).code == 0


def pasted(said: str, here) -> None:
    """The command at the end of a sentence, as a user pastes it into a shell."""
    command = said.strip().rpartition("Run: ")[2]
    done = ran("bash", "-c", " ".join([command, "-q", *PIP_ARGS]), cwd=here, PATH=PATH)
    assert done.code == 0, command + done.out + done.err


def test_cpu_runs_exports(install, here):
    env = install(["cpu"])
    assert {"onnxruntime", "pillow"} <= installed(env)
    assert installed(env) & {"torch", "onnx", "scipy", "matplotlib", "onnxruntime-gpu"} == set()
    assert env.run("check", "toy2d", cwd=here).code == 0
    assert env.run("sample", "toy2d", "-n", 20, "--seed", 7, "-o", "x.npy", cwd=here).code == 0
    scored = json.loads(env.run("score", "toy2d", "x.npy", "--json", cwd=here).out)
    assert scored["rows"] == 20
    assert env.run("sample", "digits", "-n", 4, "-o", "grid.png", cwd=here).code == 0
    assert (here / "grid.png").read_bytes()[:4] == b"\x89PNG"
    for language in ("c", "cpp", "rust", "node"):
        assert env.run("embed", "toy2d", "--language", language, "-o", language, cwd=here).code == 0
    assert env.run("doctor", cwd=here).code in (0, 3)
    refused(env.run("train", "two-moons", "-o", "m.pt", cwd=here), 2, "lunet-export[train] @ file://")
    refused(env.run("check", "toy2d", "--provider", "cuda", cwd=here), 3, "Expected")
    typed(env, here)


def typed(env, here) -> None:
    """A program of a user's, checked against the installed wheel alone: its types are seen from outside."""
    program = here / "consumer.py"
    shutil.copy(ROOT / "tests" / "release" / "consumer.py", program)
    check = [TOOLS, "-m", "mypy", "--strict", "--python-executable", env.python, "--cache-dir", here / "cache"]
    done = ran(*check, program, cwd=here)
    assert (done.code, done.out) == (0, "Success: no issues found in 1 source file\n"), done
    ran_ = ran(env.python, program, cwd=here)
    assert (ran_.code, ran_.err) == (0, ""), ran_
    program.write_text(program.read_text().replace("seed=7", 'seed="seven"').replace("-> Floats", "-> str"))
    done = ran(*check, program, cwd=here)
    assert done.code == 1
    assert {line.rpartition("[")[2] for line in done.out.splitlines()[:-1]} == {"arg-type]", "return-value]"}, done.out


def test_gpu_says_what_a_machine_without_one_lacks(install, here):
    env = install(["gpu"])
    assert {"onnxruntime-gpu", "nvidia-cublas", "pillow"} <= installed(env)
    assert "onnxruntime" not in installed(env)
    done = env.run("check", "toy2d", "--provider", "cuda", cwd=here)
    if done.code:  # no GPU here
        refused(done, 3, "Expected")
    assert env.run("check", "toy2d", "--provider", "cpu", cwd=here).code == 0
    assert env.run("sample", "toy2d", "-n", 20, "-o", "x.npy", cwd=here).code == 0
    assert env.run("doctor", cwd=here).code in (0, 3)


def test_train_trains_and_names_what_checks_an_export(install, here):
    env = install(["train"])
    assert installed(env) & {"onnxruntime", "onnxruntime-gpu"} == set()
    done = env.run("train", "two-moons", "-o", "m.pt", "--epochs", 1, "--blocks", 2, "--init", "bend", cwd=here)
    assert (done.code, "LU-Net, test" in done.out) == (0, True), done
    assert env.run("inspect", "m.pt", cwd=here).code == 0
    assert env.run("diagnose", "m.pt", "two-moons", cwd=here).code == 0
    refused(env.run("m.pt", "-o", "m", cwd=here), 2, "Expected ONNX Runtime", "lunet-export[cpu] @ file://")
    assert not (here / "m").exists()
