"""`python -m tests.kernels`: the suite under several kernels and numbers of threads, one setting after another.

A processor chooses the kernels that compute: PyTorch's loops, those of oneDNN, MKL and OpenBLAS, NumPy's loops, the C
library's exp and log. All of them take a switch from the environment, so that one machine answers for older ones. ONNX
Runtime takes none: its kernels follow the processor, and only its batches and threads differ here.

    python -m tests.kernels                             every setting, the whole suite
    python -m tests.kernels sse-1 avx2-2                two of them
    python -m tests.kernels sse-1 -- tests/flows -k law  one of them; what comes after -- is pytest's

MKL follows MKL_ENABLE_INSTRUCTIONS on processors by Intel alone; on others MKL_CBWR makes it compute as on any.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from threadpoolctl import threadpool_info

ROOT = Path(__file__).parent.parent

#: What the C library shall not use; glibc 2.33 and later.
_NO_FMA = "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F"

#: Sets of kernels, as the environment names them, newest first.
KERNELS: Mapping[str, Mapping[str, str]] = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "sse": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Prescott",
        "GLIBC_TUNABLES": _NO_FMA,
    },
}
#: Of NumPy's loops for newer processors, those that a set of kernels keeps; `native` keeps all.
_NUMPY_KEEPS = {"avx2": {"X86_V3"}, "sse": set()}
#: What PyTorch must then say of itself.
_TORCH_SAYS = {"avx2": "AVX2", "sse": "DEFAULT"}


@dataclass(frozen=True)
class Setting:
    """A set of kernels and a number of threads."""

    kernels: str
    threads: int

    @property
    def name(self) -> str:
        return f"{self.kernels}-{self.threads}"

    def environment(self) -> dict[str, str]:
        """What the suite runs in: that of this process, without switches of its own."""
        switches = {switch for chosen in KERNELS.values() for switch in chosen} | {"NPY_DISABLE_CPU_FEATURES"}
        inherited = {name: value for name, value in os.environ.items() if name not in switches}
        # Threads that wait asleep: on a busy machine spinning ones take minutes for what needs seconds.
        threads = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        return inherited | dict(KERNELS[self.kernels]) | self._numpy() | threads

    def _numpy(self) -> dict[str, str]:
        """NumPy calls names that it does not know an error, so only those that it found here are taken away."""
        if self.kernels not in _NUMPY_KEEPS:
            return {}
        found = set(np.show_config(mode="dicts")["SIMD Extensions"].get("found", ()))
        dropped = sorted(found - _NUMPY_KEEPS[self.kernels])
        return {"NPY_DISABLE_CPU_FEATURES": " ".join(dropped)} if dropped else {}


SETTINGS = {setting.name: setting for setting in (Setting(kernels, n) for kernels in KERNELS for n in (1, 2))}


@dataclass(frozen=True)
class Active:
    """The kernels that a process really has, by what its libraries say."""

    torch: str
    blas: str
    numpy: str
    mkl: str
    onednn: str
    threads: str

    def line(self) -> str:
        return (
            f"PyTorch {self.torch}, MKL {self.mkl}, oneDNN {self.onednn}, OpenBLAS {self.blas}, NumPy {self.numpy}, "
            f"threads {self.threads}"
        )


def active() -> Active:
    """Those of this process; MKL and oneDNN say theirs on stdout alone, see `asked`."""
    pools = threadpool_info()
    blas = {str(pool["architecture"]) for pool in pools if pool["internal_api"] == "openblas"}
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", ())
    dropped = os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split()
    return Active(
        torch.backends.cpu.get_cpu_capability(),
        "/".join(sorted(blas)) or "none",
        next((name for name in reversed(found) if name not in dropped), "baseline"),
        "?",
        "?",
        f"{torch.get_num_threads()} (PyTorch), {max((pool['num_threads'] for pool in pools), default=1)} (BLAS)",
    )


def asked(environment: Mapping[str, str]) -> Active:
    """The kernels of a new process in that environment."""
    loud = {**environment, "MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels", "--active"],
        cwd=ROOT,
        env=loud,
        text=True,
        capture_output=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    said = json.loads(lines[-1])
    mkl = {word.removeprefix("CNR:") for line in lines for word in line.split() if word.startswith("CNR:")}
    isa = {part.removeprefix("isa:") for line in lines for part in line.split(",") if part.startswith("isa:")}
    return Active(**{**said, "mkl": "/".join(sorted(mkl)) or "none", "onednn": "/".join(sorted(isa)) or "none"})


def _show_active() -> None:
    """A product and a convolution, of which MKL and oneDNN speak, then what the others say."""
    ones = torch.ones(64, 64, dtype=torch.float64)
    torch.nn.functional.conv2d(torch.ones(16, 8, 16, 16), torch.ones(8, 8, 3, 3))
    assert float((ones @ ones).sum()) == 64**3
    _write(json.dumps(vars(active())))


@dataclass(frozen=True)
class Counts:
    """What pytest counted."""

    passed: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, report: Path) -> "Counts":
        """From its report in JUnit's XML; a run that left none failed as a whole."""
        if not report.exists():
            return cls(0, 1, 0)
        suites = ElementTree.parse(report).getroot().iter("testsuite")
        total, failed, skipped = 0, 0, 0
        for suite in suites:
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
        return cls(total - failed - skipped, failed, skipped)


def run(
    setting: Setting, arguments: Sequence[str], say: Callable[[str], None], kernels: Callable[..., Active] = asked
) -> bool:
    """The suite under one setting; whether it passed there, with the kernels that the setting names."""
    environment = setting.environment()
    found = kernels(environment)
    say(f"{setting.name}: {found.line()}")
    wanted = _TORCH_SAYS.get(setting.kernels)
    if wanted not in (None, found.torch):
        say(f"{setting.name}: not run: PyTorch has {found.torch} here and not {wanted}")
        return False
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # What torch.compile keeps is not told apart by kernels: code of one set would compute wrong numbers in another.
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        counts = Counts.of(report)
    seconds = time.perf_counter() - begin
    verdict = "passed" if code == 0 else f"FAILED (pytest ended with {code})"
    say(
        f"{setting.name}: {verdict}: {counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped, "
        f"{seconds:.0f} s"
    )
    return code == 0


def _write(line: str) -> None:
    """To stdout at once, so that it stands before what pytest writes next."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(given: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 where any setting failed."""
    words = list(sys.argv[1:] if given is None else given)
    ours, arguments = words, []
    if "--" in words:
        ours, arguments = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m tests.kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=f"of {', '.join(SETTINGS)}; all by default")
    parser.add_argument("--active", action="store_true", help="only say which kernels this process has")
    options = parser.parse_args(ours)
    if options.active:
        _show_active()
        return 0
    unknown = [name for name in options.settings if name not in SETTINGS]
    if unknown:
        parser.error(f"expected settings of {', '.join(SETTINGS)}; got {', '.join(unknown)}")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        _write(line)

    passed = [run(SETTINGS[name], arguments, say) for name in options.settings or SETTINGS]
    _write("\n".join(["", "All settings:", *said]))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
