"""Tables made from what the commands of `lunet-export` write with --json: trainings, diagnoses, certificates, times.

benchmarks/README.md says which command wrote which record; nothing is measured here.
"""

from collections.abc import Mapping
from math import floor, log10
from typing import Any

from benchmarks import report
from lunet_export.certificate import outwards

Document = Mapping[str, Any]

_NAMES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "digits": "digits 8x8",
    "two-moons": "two moons",
    "eight-gaussians": "eight Gaussians",
    "mixture": "the paper's mixture",
}
_ROWS = {
    "two-moons": "two moons, 2 columns",
    "digits": "digits, 8 x 8 grey levels of 0 to 16",
    "mnist": "MNIST, 28 x 28 grey levels of 0 to 255",
}
_PAPERS = "leaky softplus"
_DIRECT = ("golden: density, log_prob", "golden: sampling, x")
#: For each committed model, the allowed error of `x -> z -> x` over the predicted error of the same row, and the number
#: of test rows: the limits that tests/certificate/test_round_trip.py checks.
ROUND_TRIPS = {"toy2d": ("two-moons", 1000, 0.6), "digits": ("digits", 300, 0.09), "mnist": ("mnist", 32, 0.02)}


def likelihoods(*trainings: Document) -> report.Rows:
    """Return test bits/dim beside those of the full-covariance Gaussian: a row per model."""
    found = [("LU-Net", "test bits/dim", "full-covariance Gaussian")]
    for run in map(_training, trainings):
        found.append((_name(run), f"**{run['test']:.3f}**", f"{run['gaussian_test']:.3f}"))
    return found


def trainings(*documents: Document) -> report.Rows:
    """Return all recorded figures of every training."""
    names = ("LU-Net", "activation", "blocks", "epochs")
    found = [(*names, "validation", "test", "± over the noise", "Gaussian", "paper's convention")]
    for run in map(_training, documents):
        spread = f"{run['test_spread']:.4f}" if run["test_draws"] > 1 else ""
        counts = (_activation(run), f"{_blocks(run) - 1} + 1", str(run["epochs"]))
        cells = (*counts, f"{run['valid']:.3f}", f"**{run['test']:.3f}**")
        last = (spread, f"{run['gaussian_test']:.3f}", f"{run['paper_convention']:.3f}")
        found.append((_NAMES[run["dataset"]], *cells, *last))
    return found


def plane(*diagnoses: Document) -> report.Rows:
    """Return test nats beside the entropy in two dimensions: a row per set."""
    found = [("two dimensions, nats per row", "LU-Net, test", "entropy", "above it", "Gaussian")]
    for entry in diagnoses:
        test, gaussian = (entry[model]["test"]["nats"] for model in ("model", "gaussian"))
        cells = (entry["entropy"]["nats"], entry["entropy"]["kl_nats"], gaussian)
        found.append((_NAMES[entry["dataset"]], f"**{test:.3f}**", *(f"{cell:.3f}" for cell in cells)))
    return found


def diagnosed(*diagnoses: Document) -> report.Rows:
    """Return what `diagnose` finds on the training rows: a row per model."""
    found = [
        ("LU-Net", "train bits/dim", "gained over the Gaussian", "G, nats per row", "excess kurtosis of z", "flags")
    ]
    for entry in diagnoses:
        latents, train = entry["latents_train"], entry["model"]["train"]["bits_per_dim"]
        cells = (f"{train:.3f}", f"{entry['gain']['bits_per_dim']:.3f}", f"{latents['gap_nats']:.1f}")
        flags = ", ".join(entry["flags"]) or "none"
        found.append((_NAMES[entry["dataset"]], *cells, f"{latents['excess_kurtosis']:.2f}", flags))
    return found


def classes(*documents: Document) -> report.Rows:
    """Return the figures of mixtures, one network per class, from a training and its classification: a row per set."""
    found = [
        (
            "one network per class",
            "mixture, test bits/pixel",
            "of Gaussians",
            "accuracy of Bayes' rule",
            "of Gaussians",
            "log loss, nats",
        )
    ]
    for run, said in zip(documents[::2], documents[1::2], strict=True):
        name = f"{_NAMES[run['dataset']]}, {run['classes'][0]['epochs']} epochs"
        bits = (f"**{run['test']:.3f}**", f"{run['gaussian_test']:.3f}")
        shares = (f"**{run['accuracy']:.2%}**", f"{run['gaussian_accuracy']:.2%}")
        found.append((name, *bits, *shares, f"{said['log_loss']:.2f}"))
    return found


def each_class(*documents: Document) -> report.Rows:
    """Return test bits/pixel of every class, and those of the class's own Gaussian."""
    found = [("test bits/pixel, and those of the class's own Gaussian", *map(str, range(10)))]
    for run in documents:
        pairs = (f"{entry['test']:.2f}, {entry['gaussian_test']:.2f}" for entry in run["classes"])
        found.append((_NAMES[run["dataset"]], *pairs))
    return found


def detection(*documents: Document) -> report.Rows:
    """Return AUROC of telling another set apart, from a diagnosis and a classification: a row per set."""
    kinds = ("log p of one network", "its distance from the mean", "log p(x) of ten networks", "its distance")
    found = [("AUROC on test rows", *kinds)]
    for pair in zip(documents[::2], documents[1::2], strict=True):
        shares = (entry["detection"][key] for entry in pair for key in ("auroc", "typicality"))
        told = pair[0]["detection"]
        name = f"{_NAMES[told['dataset']]} against {_NAMES[told['against']]}"
        found.append((name, *(f"{share:.4f}" for share in shares)))
    return found


def certificates(toy2d: Document, digits: Document, mnist: Document) -> report.Rows:
    """Return bounds and squeeze of the committed models, from two manifests and the third's `certify`."""
    # The names of Lipschitz bounds, with a minus sign.
    head = ("model", "K+, rounded up", "K−, rounded up", "smallest s_min(J), test vectors")  # noqa: RUF001
    found = [(*head, "x → z → x, measured over predicted")]
    bounds = {"toy2d": toy2d["certificate"]["data"], "digits": digits["certificate"]["data"], "mnist": mnist["data"]}
    squeeze = {"mnist": mnist["local"]["squeeze"]["smallest"]}
    for name, manifest in (("toy2d", toy2d), ("digits", digits)):
        squeeze[name] = min(manifest["certificate"]["rows"]["squeeze"])
    for name, bound in bounds.items():
        cells = [f"{outwards(bound[key], upper=True, digits=3):.3g}" for key in ("lip_forward", "lip_inverse")]
        found.append((name, *cells, f"{squeeze[name]:.3g}", f"up to {ROUND_TRIPS[name][2]}"))
    return found


def latencies(*documents: Document) -> report.Rows:
    """Return median milliseconds per call beside eager PyTorch, from `bench`: a row per model and direction."""
    batches = sorted({row["batch"] for document in documents for row in document["rows"]})
    found = [("ms per call, and how many times as fast as eager PyTorch", *(f"batch {batch}" for batch in batches))]
    for document in documents:
        times = {(row["runner"], row["direction"], row["batch"]): row["time"]["p50"] for row in document["rows"]}
        for direction in ("density", "sampling"):
            cells = []
            for batch in batches:
                ours = times.get(("ONNX Runtime, cpu", direction, batch))
                eager = times.get(("eager PyTorch", direction, batch))
                cells.append("" if ours is None or eager is None else f"{ours:.3g} ({eager / ours:.1f} x)")
            found.append((f"{document['folder'].rpartition('/')[2]}, {direction}", *cells))
    return found


def robustness(fuzz: Document, faults: Document, extremes: Document, soak: Document) -> report.Rows:
    """Return what was tried to break the package, and how often something was wrong."""
    runs, outcomes, scenarios = sum(faults["runs"].values()), extremes["outcomes"], soak["scenarios"].values()
    same = sum(cell["same_after"] for row in faults["matrix"].values() for cell in row.values())
    return [
        ("campaign", "tried", "outcome", "wrong"),
        (
            "hostile files",
            f"{fuzz['inputs']:,} inputs of {len(fuzz['readers'])} readers",
            f"{fuzz['accepted']:,} read rightly, {fuzz['refused']:,} refused in one sentence",
            str(fuzz["findings"]),
        ),
        (
            "kills, and faults of disk, folder and clock",
            f"{runs:,} runs of {len(faults['operations'])} commands",
            f"the next run of {same:,} ended with the files of an unbroken run",
            str(faults["wrong"]),
        ),
        (
            "extreme numbers",
            f"{extremes['cases']} models and exports",
            f"{outcomes['right']} right, {outcomes['refused']} refused in one sentence",
            str(outcomes["wrong"]),
        ),
        (
            "long runs",
            f"{sum(entry['calls'] for entry in scenarios):,} calls",
            "the same bits as at first, flat memory",
            str(sum(entry["wrong"] for entry in scenarios)),
        ),
    ]


def errors(*manifests: Document) -> report.Rows:
    """Return the largest errors of float32 exports over their test vectors, and their largest share of a tolerance."""
    head = ("float32 export, largest error over all test vectors", "log_prob, nats", "x", "share of the tolerance")
    found = [head]
    for manifest in manifests:
        checks = {check["output"]: check for check in manifest["checks"] if check["name"] in _DIRECT}
        cells = (_decimal(checks[output]["absolute"]) for output in ("log_prob", "x"))
        share = max(checks[output]["ratio"] for output in ("log_prob", "x"))
        found.append((_ROWS[manifest["training"]["dataset"]], *cells, f"{share:.2f}"))
    return found


def _decimal(value: float) -> str:
    """Return two significant digits, without an exponent."""
    return f"{value:.{1 - floor(log10(value))}f}" if value else "0"


def _training(document: Document) -> Document:
    """Return the training of a record, or the one that a manifest holds."""
    return document.get("training", document)


def _name(run: Document) -> str:
    chosen = "" if _activation(run) == _PAPERS else f", {_activation(run)}"
    return f"{_NAMES[run['dataset']]}, {_blocks(run) - 1} + 1 blocks, {run['epochs']} epochs{chosen}"


def _blocks(run: Document) -> int:
    """Return the number of blocks; records of the first versions hold it beside the figures."""
    return int(run.get("network", run)["blocks"])


def _activation(run: Document) -> str:
    """Return the activation in words; records of the first versions have the paper's."""
    network = run.get("network", {})
    name = network.get("activation", "leaky-softplus").replace("-", " ")
    return f"{name}, learned alpha" if isinstance(network.get("alpha"), dict) else name
