"""Flows to run in threads and processes, and all that they say, as bytes. Without PyTorch: processes start faster."""

from pathlib import Path

from lunet_export import ExportedClasses, ExportedFlow

FOLDERS = Path(__file__).parent.parent / "version1" / "folders"
BATCHES = (1, 7, 64, 3, 256, 2, 33, 5000)


def opened(name, threads=1):
    return (ExportedClasses if name == "classes" else ExportedFlow)(FOLDERS / name, provider="cpu", threads=threads)


def answers(flow, turn):
    """Of a batch that depends on the turn."""
    n = BATCHES[turn % len(BATCHES)]
    x = flow.sample(n, seed=turn)
    found = [x, *flow.density(x)]
    if isinstance(flow, ExportedClasses):
        found += [flow.sample(n, seed=turn, label=1), flow.classify(x)]
    elif "sampling_with_log_prob" in flow.artifact.graphs:
        found += flow.decode_with_log_prob(flow.latent(n, seed=turn))
    elif "density_estimate" in flow.artifact.graphs:
        found += [flow.log_prob_estimate(x, seed=turn)]
    return b"".join(array.tobytes() for array in found)
