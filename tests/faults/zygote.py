"""A process that has all modules loaded and forks one child a command: hundreds of real processes, killed for real.

It runs as `python -m tests.faults.zygote` with the library of `interpose.c` loaded first. A request is a line of JSON,
its answers are two: the process number at once, then how the process ended.
"""

import ctypes
import json
import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path

#: What commands import when they run; here it is imported once.
MODULES = """
    torch lunet_cli.main lunet_cli.start onnxruntime onnx matplotlib.pyplot PIL.Image pyarrow.parquet pyarrow.ipc
    scipy.optimize schedulefree sklearn.datasets lunet_export.checkpoint lunet_export.training lunet_export.export
    lunet_export.diagnostics lunet_export.streaming lunet_export.figures lunet_export.importers
    lunet_export.graphs.blueprint lunet_export.graphs.estimate lunet_export.verification
""".split()  # noqa: SIM905


def child(request: dict) -> None:
    """Be the command; does not return."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["cwd"])
    sys.argv = ["lunet-export", *request["arguments"]]
    library = ctypes.CDLL(request["library"])
    what, at, which = request["fault"]
    library.faults_arm(os.fsencode(request["root"]), what, ctypes.c_long(at), which)
    from lunet_cli import start

    code = 0
    try:
        start.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # what Python would print at its end
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    counted = {"operations": library.faults_count(), "modules": sorted(sys.modules)}
    Path(request["counted"]).write_text(json.dumps(counted))
    os._exit(code)


def warm() -> None:
    """Draw once, which loads fonts for all children."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([0, 1], label="$x$, y")
    axes.set_title("a title")
    axes.legend()
    axes.figure.savefig(BytesIO())


def main() -> None:
    """Answer requests until stdin ends."""
    for name in MODULES:
        import_module(name)
    warm()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        for name in request["modules"]:
            with suppress(Exception):
                import_module(name)
        process = os.fork()
        if not process:
            child(request)
        answers.write(f"{process}\n")
        answers.flush()
        _, status = os.waitpid(process, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    main()
