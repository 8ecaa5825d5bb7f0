"""`lunet-export plot`."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from lunet_cli import output
from lunet_cli.models import contexts_for, open_source, read_model, rows_for, source_of
from lunet_cli.options import AuthorsOptions, Json, RowsOptions
from lunet_export import noise
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.diagnostics import Source

Draw = Callable[[Path], None]


class Kind(StrEnum):
    """Kinds of pictures."""

    SAMPLES = "samples"
    INTERPOLATION = "interpolation"
    LATENTS = "latents"
    DENSITY = "density"
    ACTIVATIONS = "activations"
    BLOCKS = "blocks"
    CURVE = "curve"


class Way(StrEnum):
    """Paths of an interpolation."""

    SPHERICAL = "spherical"
    LINEAR = "linear"


_STEPS = 11
_IMAGES, _POINTS, _MAP_SAMPLES, _PAIRS, _PROJECTIONS = 100, 10_000, 2000, 8, 6
_STRIP_POINTS = 3000
_WITHOUT_DATA = (Kind.SAMPLES, Kind.CURVE)
_WITHOUT_NUMBER = (Kind.ACTIVATIONS, Kind.CURVE)


def plot(
    kind: Annotated[Kind, Argument(help="Kind of picture.")],
    model: Annotated[Path, Argument(help="A model file, or an exported folder.")],
    data: Annotated[list[str] | None, Argument(help="A data set, as for `train`; for curve, more models.")] = None,
    *,
    target: Annotated[Path, Option("--output", "-o", help="The picture to write, a .png.")],
    n: Annotated[
        int | None, Option("-n", min=1, help="Number of samples, pairs or projections. Default: by kind.")
    ] = None,
    options: RowsOptions,
    way: Annotated[
        Way, Option("--path", help="Path of an interpolation; a linear one leaves the shell where latents lie.")
    ] = (Way.SPHERICAL),
    authors: AuthorsOptions,
    as_json: Json = False,
) -> None:
    """Draw a model: samples, latents, density, activations, training.

    samples: a grid of images, points, or pairs of columns. interpolation: paths between test images through the latent
        space.
    latents: the z of test rows beside N(0, I). density: p(x) of a 2-D model beside the true density. activations: which
    units are nonlinear on the test rows, for a model file. blocks: data and samples after every block of a 2-D
    JKO-iFlow, for a model file. curve: bits/dim over the epochs, from the history beside each model file.

    A conditional model takes contexts. Its density is p(x | c) at the context of the rows, or at three if they have
    several. An interpolation moves from the context of one image to that of the other.

    Example: lunet-export plot density runs/two-moons two-moons -o density.png
    """
    rest = data or []
    _validate_arguments(kind, rest, n, target)
    if kind is Kind.CURVE and options.context is not None:
        raise BadInputError("Expected no --context for curve, which is of the history alone. Leave it out.")
    output.validate_writable("-o", target)
    if kind is Kind.CURVE:
        draw = _curve([model, *map(Path, rest)])
    elif kind is Kind.BLOCKS:
        draw = _blocks(model, rest[0], n or _STRIP_POINTS, options)
    elif kind is Kind.SAMPLES:
        draw = _samples(open_source(model, authors), n, options)
    else:
        draw = _of_rows(kind, open_source(model, authors), rest[0], n, way, options)
    with whole_file(target) as temporary:
        draw(temporary)
    if as_json:
        output.dump({"output": str(target), "kind": kind.value, "source": str(model)})
        return
    of = ", ".join(map(str, [model, *rest])) if kind is Kind.CURVE else model
    output.say(f"wrote {target}: {kind.value} of {of}")


def _validate_arguments(kind: Kind, rest: list[str], n: int | None, target: Path) -> None:
    if target.suffix != ".png":
        raise BadInputError(f"Expected -o FILE.png; got {target}.")
    if n is not None and kind in _WITHOUT_NUMBER:
        raise BadInputError(f"Expected no -n for {kind.value}; got {n}. Leave it out.")
    if kind is Kind.CURVE:
        return
    wanted = 0 if kind in _WITHOUT_DATA else 1
    if len(rest) != wanted:
        what = "a data set behind the model" if wanted else "no data set"
        example = (" two-moons" if kind is Kind.DENSITY else " digits") if wanted else ""
        raise BadInputError(
            f"Expected {what} for {kind.value}; got {' '.join(rest) or 'none'}. Example: lunet-export plot "
            f"{kind.value} MODEL{example} -o {kind.value}.png"
        )


def _of_rows(kind: Kind, source: "Source", name: str, n: int | None, way: Way, options: RowsOptions) -> Draw:
    """Return the function that draws a model on rows of data. Models that do not fit raise before rows are read."""
    from lunet_export import figures

    refusals = {
        Kind.INTERPOLATION: figures.validate_images,
        Kind.DENSITY: figures.validate_two_dimensions,
        Kind.ACTIVATIONS: figures.validate_activations,
    }
    if kind in refusals:
        refusals[kind](source)
    rows, seed = rows_for(source, name, options), options.seed
    if kind is Kind.INTERPOLATION:
        return _interpolation(source, rows, n or _PAIRS, seed, way)
    if kind is Kind.LATENTS:
        return _latents(source, rows, n or _PROJECTIONS, seed)
    return _density(source, rows, n or _MAP_SAMPLES, seed) if kind is Kind.DENSITY else _activations(source, rows, seed)


def _samples(source: "Source", n: int | None, options: RowsOptions) -> Draw:
    from lunet_export.pictures import samples as pictures

    pictures.validate_drawable(source)
    number = n or (_POINTS if source.image_shape is None else _IMAGES)
    context = contexts_for(source.context, options.context, number)
    x = source.decode(noise.normal(options.seed, range(number), source.dim), context=context)
    return lambda path: pictures.draw(x, source, path)


def _interpolation(source: "Source", rows: "Dataset", pairs: int, seed: int, way: Way) -> Draw:
    from lunet_cli.interpolation_plot import draw
    from lunet_export.figures import interpolate

    x = interpolate(source, rows, pairs=pairs, steps=_STEPS, seed=seed, path=way.value)
    title = f"{source.name}: {way.value} paths in latent space between test images of {rows.name}"
    return lambda path: draw(x, source, path, title=title)


def _latents(source: "Source", rows: "Dataset", projections: int, seed: int) -> Draw:
    from lunet_cli.latents_plot import draw
    from lunet_export.figures import latent_distribution

    with output.counting(len(rows.test), f"encoding {rows.name}") as on_rows:
        found = latent_distribution(source, rows, projections=projections, seed=seed, on_rows=on_rows)
    of, gap = f"{found.rows:,} test rows of {rows.name}", found.summary.gap_nats
    title = f"{source.name}: latents of {of}, D = {found.dim}, Gaussian gap {gap:.3g} nats"
    return lambda path: draw(found, path, title=title)


def _density(source: "Source", rows: "Dataset", samples: int, seed: int) -> Draw:
    from lunet_cli.density_plot import draw, draw_given
    from lunet_export.figures import density_map, shown_contexts
    from lunet_export.figures.density_map import CELLS

    contexts = None if rows.contexts is None else shown_contexts(rows.contexts.test)
    shown = [None] if contexts is None else list(contexts)
    with output.counting(len(shown) * (len(rows.test) + CELLS**2), "mapping the density") as on_rows:
        maps = [
            density_map(source, rows, samples=samples // len(shown), seed=seed, context=context, on_rows=on_rows)
            for context in shown
        ]
    given = [] if source.context is None or contexts is None else list(map(source.context.told, contexts))
    of = f", given {given[0]}" if len(given) == 1 else ""
    title = f"{source.name} on {rows.name}{of}: test NLL {maps[0].test_nats:.3f} nats"
    if maps[0].entropy:
        about = "" if maps[0].entropy.bias is None else " by nearest neighbours"
        title += f", entropy of the data {maps[0].entropy.nats:.3f} nats{about}"
    if len(maps) > 1:
        return lambda path: draw_given(maps, given, path, title=title, columns=source.columns)
    return lambda path: draw(maps[0], path, title=title, columns=source.columns)


def _activations(source: "Source", rows: "Dataset", seed: int) -> Draw:
    from lunet_cli.activations_plot import draw
    from lunet_export.diagnostics.activations import COLLAPSED
    from lunet_export.figures import activation_inputs

    with output.counting(len(rows.test), f"looking into the activations on {rows.name}") as on_rows:
        found = activation_inputs(source, rows, seed=seed, on_rows=on_rows)
    title = (
        f"{source.name} on {found.rows:,} test rows of {rows.name}: what enters each unit, 5 to 95 % and 25 to 75 %\n"
        f"yellow: where f is curved; red: a unit with less than {COLLAPSED:.0%} of its rows off its branch"
    )
    return lambda path: draw(found, path, title=title)


def _blocks(model: Path, name: str, points: int, options: RowsOptions) -> Draw:
    if model.is_dir():
        raise BadInputError(
            f"Expected a model file for blocks; {model} is a folder, whose graphs show none. Give the model file."
        )
    from lunet_cli.blocks_plot import draw
    from lunet_export.figures import block_strip, validate_blocks
    from lunet_export.layers import Velocity

    read = read_model(model)
    weights = validate_blocks(read.weights)
    rows = rows_for(source_of(read), name, options)
    found = block_strip(weights, rows, points=points, seed=options.seed)
    title = f"{model.stem} on {rows.name}: {len(weights.of(Velocity))} blocks, and how far each moves the test rows"
    return lambda path: draw(found, path, title=title)


def _curve(models: list[Path]) -> Draw:
    from lunet_export import data

    for path in models:
        if str(path) in data.NAMES and not path.is_file():
            raise BadInputError(f"Expected model files for curve; got the data set {path}. Leave it out.")
        if path.is_dir():
            raise BadInputError(
                f"Expected a model file with its history beside it; {path} is a folder, which records no epochs. "
                "Give the file from which it was exported."
            )
    from lunet_export.training import History, Paths
    from lunet_export.training.curve import draw
    from lunet_export.training.history import of_one_set

    files = [path if path.suffix == ".json" else Paths(path).history for path in models]
    known: dict[Path, Path] = {}
    for path, file in zip(models, files, strict=True):
        if (same := known.setdefault(file.resolve(), path)) is not path:
            raise BadInputError(
                f"Expected each run once; {same} and {path} have the same history. Leave one of them out."
            )
    names = [file.name.removesuffix(".json").removesuffix(".history") for file in files]
    if len(set(names)) < len(names):  # the same name in several folders
        names = [str(file.with_name(name)) for file, name in zip(files, names, strict=True)]
    runs = {name: History.read(file) for name, file in zip(names, files, strict=True)}
    sets = sorted({run.dataset for run in runs.values()} - {""})
    title = names[0] if len(runs) == 1 else f"training on {' and '.join(sets)}" if sets else "training"
    if not of_one_set(runs.values()):
        of = ", ".join(f"{name} of {run.dataset or 'a data set without a name'}" for name, run in runs.items())
        output.complain(f"These runs are of different data, so their bits/dim cannot be compared: {of}.")
    return lambda path: draw(runs, path, title=title)
