"""`lunet-export recalibrate`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from lunet_cli import hints, output
from lunet_cli.models import new_model, read_model, rows_for, source_of
from lunet_cli.option_groups import typed
from lunet_cli.options import AuthorsOptions, DataSet, Force, Json, RowsOptions
from lunet_cli.pipes import is_stream
from lunet_export.api.models import validate_model_path
from lunet_export.errors import BadInputError


def recalibrate(
    model: Annotated[Path, Argument(help="A model file.")],
    dataset: DataSet,
    *,
    target: Annotated[Path, Option("--output", "-o", help="The model file to write.")],
    data: RowsOptions,
    authors: AuthorsOptions,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fold the Gaussian of the latents into the last block.

    The latents of the training rows then have mean 0 and covariance I. A conditional LU-Net gets one more LU layer.

    The mean NLL of these rows falls by exactly G = 1/2 (tr C + |m|^2 - D - log det C) nats, with no training.

    Example: lunet-export recalibrate model.pt digits -o better.pt
    """
    from lunet_export import checkpoint, diagnostics

    validate_model_path(target, force=force)
    if model.is_dir():
        raise BadInputError(f"Expected a model file; {model} is a folder. Give the file from which it was exported.")
    read = read_model(model, authors)
    network = read.weights
    rows = rows_for(source_of(read), dataset, data)
    with output.counting(len(rows.train), f"reading the latents of {rows.name}") as on_rows:
        weights, done = diagnostics.recalibrate(network, rows, seed=data.seed, on_rows=on_rows)
    with new_model(target, force=force):
        checkpoint.write_weights(
            target,
            weights,
            image_shape=read.image_shape,
            training=diagnostics.with_note(read.training or {}, done),
            examples=read.examples,
            columns=read.columns,
        )
    if as_json:
        output.dump({"model": str(target), "source": str(model), **asdict(done)})
        return
    output.say(
        f"the mean negative log-likelihood of {done.rows} training rows of {done.dataset} falls by G = "
        f"{done.gain_nats:.6g} nats ({done.gain_bits_per_dim:.4g} bits/dim); wrote {target}"
    )
    if is_stream(dataset):  # it cannot be read again
        hints.say_to_export(target)
    else:
        hints.say("diagnose", str(target), dataset, *typed(data))
