"""What does the paper's Table 1 say when each column is divided by what it should be divided by?

LU-Net with 3 + 1 blocks, the convolutional RealNVP that the paper compared with, and a dense RealNVP as large as
LU-Net's sampling graph; all on 28 x 28 images, float32, by eager PyTorch and by ONNX Runtime, in turns in one run.
Answers are checked before anything is timed. `python -m benchmarks.table1` writes results/table1.json and prints the
table.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import memory, networks, report
from lunet_export.bench import Measurement, interleaved
from lunet_export.graphs import builder
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.settings import ExportSettings
from lunet_export.layers import Chain
from lunet_export.preprocessing import NAMED, dequantize
from lunet_export.runtime.providers import open_sessions
from lunet_export.torch_layers import EagerFlow, Flow

IMAGES = 60_000  # images per epoch, as in the paper
SHAPE = (28, 28)
BATCHES = (1, 100)  # of density and sampling
STEPS = (128, 256)  # rows of a training step: RealNVP's in the paper, and LU-Net's
_CLIP_NORM = 1.0
_MEMORY_STEPS = 3
_CHECKED_ROWS = 2

#: The paper's figures, and the quotients that its scripts compute.
PAPER: dict[str, dict[str, Any]] = {
    "LU-Net": {
        "parameters": 4.92e6,
        "memory_mib": 1127,
        "nll": 3.2424,
        "epoch_s": 7.32,
        "step_ms": 1.2,
        "density_ms": 37.10,
        "sampling_ms": 45.15,
    },
    "RealNVP": {
        "parameters": 5.39e6,
        "memory_mib": 3725,
        "nll": 5.6819,
        "epoch_s": 99.88,
        "step_ms": 56.0,
        "density_ms": 259.15,
        "sampling_ms": 1.03,
    },
    "meaning": {
        "parameters": "LU-Net: with the zeros of the triangles and the ones of their diagonals; half are free",
        "nll": "two constants and two logits 8.49 bits apart; on one scale the order is the other way round",
        "epoch_s": "with data loading; batch 256 and 4 workers, batch 128 and none",
        "step_ms": "optimizer.step() alone, its first call, not synchronised; SGD and Adam",
        "density_ms": "a pass of 60,000 images over the batch size; with loading 0.158 (256) and 0.553 (128) an image",
        "sampling_ms": "LU-Net: three spline fits and their evaluation on the CPU; RealNVP: not synchronised",
    },
}


def conv() -> Chain:
    """Return the paper's RealNVP, 5,388,264 parameters, away from the identity."""
    from lunet_export.training.realnvp.networks import convolutional

    return networks.disturbed(convolutional(SHAPE, preprocessing=NAMED["images"]))


def dense() -> Chain:
    """Return a dense RealNVP that stores as many numbers as LU-Net's sampling graph."""
    from lunet_export.training.realnvp.architecture import width_like_lunet
    from lunet_export.training.realnvp.networks import dense as fresh

    hidden = width_like_lunet(networks.DIM)
    return networks.disturbed(fresh(networks.DIM, hidden=hidden, preprocessing=NAMED["images"]))


FIRST = "LU-Net"
MODELS: dict[str, Callable[[], Chain]] = {
    FIRST: networks.standard,
    "RealNVP, convolutional": conv,
    "RealNVP, dense": dense,
}


class Runner:
    """One model in one runtime; both directions take and give NumPy rows."""

    def __init__(self, density: Callable[[Any], Any], decode: Callable[[Any], Any]) -> None:
        self.density, self.decode = density, decode

    @classmethod
    def onnxruntime(cls, weights: Chain, threads: int, *, solver: str | None = None) -> "Runner":
        """Return the exported graphs, opened from memory."""
        blueprint = Blueprint.choose(weights, ExportSettings(solver=solver))
        models = [builder.serialize(blueprint.build(name, {})) for name in ("density", "sampling")]
        (density, sampling), _ = open_sessions(models, "cpu", threads=threads)
        return cls(lambda x: density.run(["z", "log_prob"], {"x": x}), lambda z: sampling.run(["x"], {"z": z})[0])

    @classmethod
    def eager(cls, weights: Chain) -> "Runner":
        """Return the flow in eager PyTorch."""
        flow = EagerFlow(weights, "float32")
        return cls(flow.density, flow.decode)


def main() -> None:
    """Measure, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=4.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = {name: make() for name, make in MODELS.items()}
    runs, checked = times(weights, options.seconds, options.threads)
    document = {
        "command": "python -m benchmarks.table1",
        "machine": report.machine(options.threads),
        "images": IMAGES,
        "checked": checked,
        "models": {name: sizes(entry) for name, entry in weights.items()},
        "runs": {name: {case: report.times(found) for case, found in cases.items()} for name, cases in runs.items()},
        "over_lunet": over_lunet(runs),
        "over_fused": over_lunet(runs, " fused"),
        "training": training(weights, options.seconds, options.threads),
        "paper": PAPER,
    }
    report.write(options.output / "table1.json", document)
    show(document)


def sizes(weights: Chain) -> dict[str, Any]:
    """Return the parameters that PyTorch holds, how many of them are free, and the bytes of the graphs."""
    blueprint = Blueprint.choose(weights, ExportSettings())
    flow = Flow.of(weights)
    graphs = {name: len(builder.serialize(blueprint.build(name, {}))) for name in ("density", "sampling")}
    held = sum(parameter.numel() for parameter in flow.parameters())
    return {**weights.facts(), "held": held, "graph_bytes": graphs}


def times(
    weights: Mapping[str, Chain], seconds: float, threads: int
) -> tuple[dict[str, dict[str, Measurement]], dict[str, float]]:
    """Return milliseconds per call by direction and batch, then by model and runtime; and the worst answer's share."""
    runners: dict[str, Runner] = {}
    questions, checked = {}, {}
    for name, entry in weights.items():
        report.progress(f"{name}: checking the answers of both runtimes")
        questions[name] = networks.Questions.about(entry, rows=_CHECKED_ROWS)
        ours = {"eager": Runner.eager(entry), "onnxruntime": Runner.onnxruntime(entry, threads)}
        if name == FIRST:
            ours["onnxruntime fused"] = Runner.onnxruntime(entry, threads, solver="fused")
        for runtime, runner in ours.items():
            runners[f"{name}, {runtime}"] = runner
            checked[f"{name}, {runtime}"] = max(check(questions[name], name, runner, batch) for batch in BATCHES)
    found = {}
    for direction in ("density", "sampling"):
        for batch in BATCHES:
            report.progress(f"timing {direction}, batch {batch}")
            cases = {}
            for case, runner in runners.items():
                rows = questions[case.rpartition(", ")[0]].batch(direction, batch)
                cases[case] = partial(runner.density if direction == "density" else runner.decode, rows)
            found[f"{direction}, batch {batch}"] = interleaved(cases, seconds=seconds, calls_per_turn=20)
    return found, checked


def check(questions: networks.Questions, name: str, runner: Runner, batch: int) -> float:
    """Return the largest error over its tolerance, at most 1."""
    z, log_prob = runner.density(questions.batch("density", batch))
    x = runner.decode(questions.batch("sampling", batch))
    return questions.check(name, {"z": z, "log_prob": log_prob, "x": x})


def over_lunet(runs: Mapping[str, Mapping[str, Measurement]], solver: str = "") -> dict[str, dict[str, float]]:
    """Return how many times as long as LU-Net's export, by `solver`, each other takes in the same run."""
    ours = f"{FIRST}, onnxruntime{solver}"
    return {
        question: {case: found.times(cases[ours]) for case, found in cases.items()} for question, cases in runs.items()
    }


def training(weights: Mapping[str, Chain], seconds: float, threads: int) -> dict[str, Any]:
    """Time steps of exact maximum likelihood: whole steps, the optimizer alone, memory, an epoch."""
    found: dict[str, Any] = {"optimiser": "Adam, gradients cut to a norm of 1", "loading_s": loading()}
    for batch in STEPS:
        steps, torch_optimizers = {}, {}
        for name, entry in weights.items():
            flow = trained(entry)
            torch_optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4)
            x = images(batch)
            steps[name] = partial(step, flow, torch_optimizer, x)
            steps[name]()
            torch_optimizers[name] = torch_optimizer.step
        report.progress(f"timing steps of {batch} rows")
        whole = interleaved(steps, seconds=seconds, warmup=1, calls_per_turn=5)
        alone = interleaved(torch_optimizers, seconds=seconds / 4, calls_per_turn=10)
        del steps, torch_optimizers
        report.progress(f"memory of steps of {batch} rows, in fresh processes")
        found[f"batch {batch}"] = {
            name: {
                "step": report.times(whole[name]),
                "optimiser": report.times(alone[name]),
                "over_lunet": whole[name].times(whole[FIRST]),
                "epoch_s": whole[name].p50 / 1e3 * IMAGES / batch + found["loading_s"],
                "steps_measured": whole[name].calls,
                "growth_bytes": memory.growth_of("benchmarks.table1:memory_of_steps", name, batch, threads),
            }
            for name in weights
        }
    return found


def trained(weights: Chain) -> Flow:
    """Return the flow as it is trained: RealNVP with its norms."""
    from lunet_export.training import KINDS, Trainer
    from lunet_export.training.lunet.architecture import LUNetTrainer
    from lunet_export.training.realnvp.architecture import RealNVPTrainer

    trainer: type[Trainer] = {"lunet": LUNetTrainer, "realnvp": RealNVPTrainer}[weights.kind.name]
    settings = KINDS[weights.kind.name].settings(IMAGES, weights.dim, whitened=False)
    return trainer.trainable(weights, settings, torch.float32).train()


def images(batch: int) -> Tensor:
    """Return uniform grey levels with noise."""
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 256, (batch, networks.DIM), dtype=np.uint8)
    return torch.from_numpy(dequantize(rows, rng.random(rows.shape, dtype=np.float32)))


def loading() -> float:
    """Return the seconds in which the rows of an epoch get fresh noise: the cost of a loader here, the same for all."""
    rows = np.random.default_rng(2).integers(0, 256, (256, networks.DIM), dtype=np.uint8)
    rng = np.random.default_rng(3)
    times = interleaved({"noise": lambda: dequantize(rows, rng.random(rows.shape, dtype=np.float32))}, seconds=1.0)
    return times["noise"].p50 / 1e3 * IMAGES / 256


def step(flow: Flow, torch_optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    """Run zero_grad, forward, backward, clipping and the optimizer."""
    torch_optimizer.zero_grad()
    (-flow.log_prob(x).mean()).backward()
    torch.nn.utils.clip_grad_norm_(flow.parameters(), _CLIP_NORM)
    torch_optimizer.step()


def memory_of_steps(name: str, batch: int, threads: int) -> int:
    """Return the growth of this process from before the network is made, over three steps."""
    torch.set_num_threads(threads)
    weights, x = MODELS[name](), images(batch)
    before = memory.resident_bytes("VmRSS")
    flow = trained(weights)
    torch_optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4)
    for _ in range(_MEMORY_STEPS):
        step(flow, torch_optimizer, x)
    return memory.resident_bytes("VmHWM") - before


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per column of the paper's table, with a cell per model, then the paper's figure."""
    models, runs, trained = document["models"], document["runs"], document["training"]
    paper, names = document["paper"], list(models)

    def cells(text: Callable[[str], str]) -> tuple[str, ...]:
        return tuple(text(name) for name in names)

    def printed(key: str, unit: str = "") -> str:
        return " / ".join(f"{paper[name][key]:g}{unit}" for name in ("LU-Net", "RealNVP"))

    def an_image(question: str, batch: int, runtime: str) -> tuple[str, ...]:
        case = runs[f"{question}, batch {batch}"]

        def cell(name: str) -> str:
            text = f"{case[f'{name}, {runtime}']['p50'] / batch:.3g}"
            fused = case.get(f"{name}, {runtime} fused") if question == "sampling" else None
            return f"{text} (fused {fused['p50'] / batch:.3g})" if fused else text

        return cells(cell)

    found: list[tuple[str, ...]] = [
        ("", *names, "the paper prints: LU-Net / RealNVP"),
        ("parameters held, million", *cells(lambda n: f"{models[n]['held'] / 1e6:.2f}"), "4.92 / 5.39"),
        ("... of them free", *cells(lambda n: f"{models[n]['free_parameters'] / 1e6:.2f}"), ""),
        ("sampling graph, MB", *cells(lambda n: f"{models[n]['graph_bytes']['sampling'] / 1e6:.1f}"), ""),
    ]
    for batch in STEPS:
        part = trained[f"batch {batch}"]
        found += [
            (
                f"peak memory of training, batch {batch}, MB",
                *cells(lambda n, part=part: f"{(part[n]['growth_bytes'] or 0) / 1e6:.0f}"),
                printed("memory_mib", " MiB") if batch == STEPS[0] else "",
            ),
            (
                f"epoch of 60,000 images, batch {batch}, s",
                *cells(lambda n, part=part: f"{part[n]['epoch_s']:.4g}"),
                printed("epoch_s") if batch == STEPS[0] else "",
            ),
            (
                f"whole step, batch {batch}, ms",
                *cells(lambda n, part=part: f"{part[n]['step']['p50']:.4g}"),
                "",
            ),
            (
                f"the optimizer alone, batch {batch}, ms",
                *cells(lambda n, part=part: f"{part[n]['optimiser']['p50']:.3g}"),
                printed("step_ms") if batch == STEPS[0] else "",
            ),
        ]
    for question in ("density", "sampling"):
        for batch in BATCHES:
            for runtime, title in (("eager", "PyTorch"), ("onnxruntime", "ONNX Runtime")):
                last = printed(f"{question}_ms") if batch == BATCHES[-1] and runtime == "eager" else ""
                found.append(
                    (f"{question}, batch {batch}, {title}, ms per image", *an_image(question, batch, runtime), last)
                )
    return found


def ratio_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return how many times as long as LU-Net's export each exported RealNVP takes: a row per direction and batch."""
    found = [("LU-Net is faster by a factor of", "than the convolutional RealNVP", "than the dense RealNVP")]
    for question in ("density", "sampling"):
        for solver, key in (("unrolled", "over_lunet"), ("fused", "over_fused")):
            if question == "sampling" or solver == "unrolled":  # a density has no solver
                for batch in BATCHES:
                    case = document[key][f"{question}, batch {batch}"]
                    ratios = (case[f"RealNVP, {kind}, onnxruntime"] for kind in ("convolutional", "dense"))
                    name = question if question == "density" else f"{question}, `{solver}`"
                    found.append((f"{name}, batch {batch}", *(_factor(ratio) for ratio in ratios)))
    return found


def _factor(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"


def show(document: Mapping[str, Any]) -> None:
    """Print the table in Markdown."""
    print(report.markdown(rows(document)))


if __name__ == "__main__":
    report.run(main)
