"""How the files of version 1 were made, once: `python -m tests.version1.make`. They are never made again.

It is kept to say what they hold, and as the pattern for the files of a version 2. It overwrites nothing.
`lunet-first` is not of it: commit 162b3c7, the first whose folders have all that version 1 asks for, wrote its folder,
its model file and its answers, of `network(2, 2)` in float32. It has neither a certificate nor tolerances for TF32, and
its model file names no family.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lunet_export import checkpoint, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.checks.vectors import rounded
from lunet_export.distribution import Mixture
from lunet_export.errors import BadInputError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.files.reading import sha256
from lunet_export.layers import Chain, Inverse, LeakyReLU, Sigmoid
from lunet_export.preprocessing import NAMED
from tests.families import composed, jko, realnvp
from tests.networks import network, rows

HERE = Path(__file__).parent
FOLDERS, MODELS, ANSWERS = HERE / "folders", HERE / "models", HERE / "answers.json"
SEED, ROWS = 7, 3
NAMES, PRIORS = ("T-shirt/top", "b, c"), (0.7, 0.3)

PLAIN = ExportSettings()


def first_coupling(weights: Chain) -> Chain:
    """The network up to its first coupling: all nine would be 200 kB."""
    return replace(weights, layers=weights.layers[:1])


SINGLE: dict[str, tuple[Callable[[], Chain], ExportSettings]] = {
    "lunet": (lambda: network(4, 2, preprocessing=NAMED["digits"]), PLAIN),
    "lunet-leaky-relu": (lambda: network(2, 2, activation="leaky-relu"), PLAIN),
    "lunet-leaky-tanh-float64": (lambda: network(2, 2, activation="leaky-tanh"), ExportSettings(dtype="float64")),
    "lunet-float16-and-all-graphs": (
        lambda: network(2, 2),
        ExportSettings(solver="fused", dtype="float16", with_log_prob=True, rng=True),
    ),
    "realnvp-dense": (lambda: realnvp.dense(2, 3, couplings=2), PLAIN),
    "realnvp-convolutional": (lambda: first_coupling(realnvp.convolutional(2, 1, preprocessing="none")), PLAIN),
    "jko": (lambda: jko.flow(2, (4,), blocks=1, steps=1, strength=0.2), ExportSettings(hutchinson=True)),
    "composed-float64": (
        lambda: composed.composed(Inverse(Sigmoid(1e-6)), composed.coupling(3), composed.lu_layer(3), LeakyReLU(0.2)),
        ExportSettings(dtype="float64"),
    ),
}
IMAGES = {"lunet": (2, 2), "realnvp-convolutional": (2, 2)}


def main() -> None:
    """Write all of them, with what they must answer."""
    if FOLDERS.exists() or MODELS.exists():
        raise BadInputError("Expected no files of version 1; they are there, and stay as they are.")
    MODELS.mkdir()
    answers: dict[str, Any] = {"folders": {}, "models": {}}
    for name, (make, settings) in SINGLE.items():
        weights, shape = make(), IMAGES.get(name)
        training = {"dataset": "none", "seed": 0}
        model = MODELS / f"{name}.pt"
        checkpoint.write_weights(model, weights, image_shape=shape, training=training, examples=rows(weights, 2))
        weights = checkpoint.read(model).weights  # with the rounding of its file
        export(weights, FOLDERS / name, Provenance(name, "lunet_export", shape, training), settings)
        products = "float16" if settings.dtype == "float16" else None
        dtype = "float32" if products else settings.dtype
        answers["folders"][name] = {"sampled": sampled(weights, dtype, products)}
        answers["models"][name] = known(weights)
    answers["folders"]["classes"], answers["models"]["classes"] = classes()
    answers["sha256"] = {
        str(file.relative_to(HERE)): sha256(file.read_bytes())
        for part in (FOLDERS, MODELS)
        for file in sorted(part.rglob("*"))
        if file.is_file()
    }
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


def classes() -> tuple[dict[str, Any], dict[str, Any]]:
    """One network per class: its folder, its model file, and the answers of both."""
    networks = [network(3, 2, seed=seed) for seed in range(2)]
    members = [MODELS / f"classes-{number}.pt" for number in range(2)]
    for weights, member in zip(networks, members, strict=True):
        checkpoint.write_weights(member, weights, image_shape=None, training={}, examples=None)
    model = MODELS / "classes.pt"
    checkpoint.write_classes(model, members, names=NAMES, priors=PRIORS, training={"seed": 0})
    for member in members:
        member.unlink()
    mixture: Mixture[Any] = checkpoint.read(model).mixture
    export(mixture, FOLDERS / "classes", Provenance("classes"), ExportSettings())
    drawn = [sampled(weights, "float32", None) for weights in mixture.components]
    x = np.concatenate([rows(weights, ROWS, seed=SEED) for weights in mixture.components])
    labels = noise.classes(SEED, range(8), mixture.priors)
    return (
        {"sampled": drawn, "labels": labels.tolist()},
        {
            "sha256_weights": mixture.digest(),
            "names": list(mixture.names),
            "priors": list(mixture.priors),
            "x": x.tolist(),
            "class_log_prob": [reference.log_prob(weights, x).tolist() for weights in mixture.components],
        },
    )


def sampled(weights: Chain, dtype: str, products: str | None) -> dict[str, Any]:
    """What `sample(ROWS, seed=SEED)` gives, by the float64 reference, and how far a runtime of the dtype may be off."""
    model = RoundingModel(weights, dtype, products)
    z = rounded(noise.normal(SEED, range(ROWS), weights.dim), dtype)
    return {"x": model.clamp(reference.decode(weights, z)).tolist(), "tolerance": model.sampling(z)["x"].tolist()}


def known(weights: Chain) -> dict[str, Any]:
    """What the float64 reference says of the weights in a model file."""
    x = rows(weights, ROWS, seed=SEED)
    return {
        "sha256_weights": weights.digest(),
        "facts": json.loads(json.dumps(weights.facts())),
        "x": x.tolist(),
        "log_prob": reference.log_prob(weights, x).tolist(),
    }


if __name__ == "__main__":
    main()
