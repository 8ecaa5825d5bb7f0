"""Ask Marabou one query; runs in `.venv-marabou`, which has none of our packages.

    python solve.py GRAPH.onnx QUERY.vnnlib WITNESS.txt SECONDS

Marabou reads both files itself. WITNESS.txt gets the verdict and, after `sat`, the variables as VNN-COMP writes them.
The last line of stdout is JSON: verdict, seconds of the search, versions, LeakyReLUs.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")  # of TensorFlow, which is not there
from maraboupy import Marabou  # noqa: E402

graph, query, witness, limit = sys.argv[1:]
network = Marabou.read_onnx(graph)
options = Marabou.createOptions(verbosity=0, timeoutInSeconds=int(limit))
start = time.perf_counter()
verdict, values, _ = network.solve(verbose=False, options=options, propertyFilename=query)
seconds = time.perf_counter() - start
lines = [verdict]
if verdict == "sat":
    (inputs,), (outputs,) = network.inputVars, network.outputVars
    named = {"X": inputs.reshape(-1), "Y": outputs.reshape(-1)}
    pairs = [f"({kind}_{i} {values[v]!r})" for kind, variables in named.items() for i, v in enumerate(variables)]
    lines.append(f"({' '.join(pairs)})")
Path(witness).write_text("\n".join(lines) + "\n", encoding="utf-8")
versions = {name: version(name) for name in ("maraboupy", "onnx", "numpy")}
found = {"verdict": verdict, "seconds": seconds, "leaky_relus": len(network.leakyReluList), **versions}
sys.stdout.write(json.dumps(found) + "\n")
