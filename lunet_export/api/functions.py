"""The functions `train`, `load`, `save`, `export` and `check` of `lunet_export`.

PyTorch and onnx are loaded when a function that needs them is called.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Unpack

from lunet_export.api.choices import FlowName, TrainingChoices, divided, path_of, typed
from lunet_export.api.models import Model, ModelLike
from lunet_export.columns import Columns
from lunet_export.errors import BadInputError, DataWarning
from lunet_export.runtime import ExportedClasses, ExportedFlow, open_export

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lunet_export.api.checking import Checks
    from lunet_export.data import Dataset
    from lunet_export.runtime.cuda import CudaOptions
    from lunet_export.runtime.providers import Provider
    from lunet_export.training import EpochRecord

    PathLike = str | os.PathLike[str]
    #: Rows (N, D), images (N, height, width), a data frame, a `Dataset`, or the path or name of one.
    DataLike = ArrayLike | Dataset | PathLike


def train(
    data: DataLike,
    output: PathLike | None = None,
    *,
    flow: FlowName = "lunet",
    epochs: int | None = None,
    per_class: bool = False,
    begin: ModelLike | None = None,
    seed: int = 0,
    data_dir: PathLike = "data",
    levels: int | None = None,
    columns: Sequence[str | int] = (),
    context: ArrayLike | None = None,
    context_columns: Sequence[str | int] = (),
    context_labels: bool = False,
    label: str | int | None = None,
    dequantize: bool = False,
    fallback: bool = True,
    device: str = "cpu",
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    **choices: Unpack[TrainingChoices],
) -> Model:
    """Train a flow by exact maximum likelihood, as `lunet-export train` does, and return the model that is kept.

    The loss is the mean of -log p(x) in nats per row. The best epoch on the validation rows is kept, or the start or
    the Gaussian if no epoch is better by more than chance. The command writes the same file.

    Args:
        data: Rows (N, D); integers, also as images (N, height, width) or (N, height, width, channels), are grey levels.
            Or a data frame, whose column names the model keeps; a `Dataset`; the path of a file such as .csv; or a name
            such as `digits` or `two-moons`. 10 % of the rows are for validation and 10 % for the test.
        output: Path of the model file (.pt), with its history and curve beside it; None keeps no files.
        flow: Kind of the flow: `lunet`, `realnvp`, `realnvp-dense` or `jko`.
        epochs: Number of epochs; None takes the default for the kind and the number of rows.
        per_class: Whether to train one network per class; the data set must have labels.
        begin: Model to start from instead of the Gaussian; it determines the architecture.
        seed: Random seed, in [0, 2^64).
        data_dir: Folder of the MNIST files.
        levels: Number of grey levels of integers; None takes 256.
        columns: Columns that make a row, by name or by number from one; empty takes those of `begin`, else all.
        context: Contexts (N, C) of the rows, an array or a data frame, for p(x | c) of `lunet` or `realnvp-dense`.
        context_columns: Columns of a file or a frame that are the contexts, which are then not part of the rows.
        context_labels: Whether the context of a row is its label: one network of all classes, p(x | class).
        label: Column of a file or a frame that holds the classes, for `per_class` and `context_labels`.
        dequantize: Whether to add noise to columns of vectors that hold counts or rounded numbers.
        fallback: Whether the Gaussian, or the start, is kept if no epoch is better by more than chance.
        device: PyTorch device, such as `cpu` or `cuda`.
        resume: Whether to continue from the resume file beside `output`.
        force: Whether files of an earlier run may be replaced.
        progress: Whether to show a bar on a terminal or in a notebook, elsewhere a line on stderr every 30 seconds.
        on_epoch: Function that is called after every epoch with its record, in bits per dimension.
        **choices: Finer choices of the network and of the fit, as `TrainingChoices` lists them.

    Returns:
        The model, as `load(output)` returns it; its `training` holds the figures, `test` in bits per dimension.

    Raises:
        BadInputError: if a choice is unknown or out of its range, choices contradict each other, or a file exists.
        DataError: if the rows are malformed, too few, or of unbounded likelihood.
        CheckpointError: if `begin` or the resume file cannot be read.
        CheckFailedError: if the loss stops being a finite number.

    Warns:
        DataWarning: if values, rows or columns may spoil the density.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(500, 5))
        >>> lunet_export.train(rows, "model.pt", epochs=2, progress=False).dim
        5
    """
    from lunet_export.api import models
    from lunet_export.api.plan import Plan, Watch
    from lunet_export.api.rows import dataset_of
    from lunet_export.api.training_bar import TrainingBar
    from lunet_export.files import exclusive
    from lunet_export.training.degenerate import warnings_of

    network, fit = divided(choices)
    plan = Plan(
        flow=_one_of(flow, FlowName, "flow"),
        network=network,
        fit={**fit, "epochs": None if epochs is None else typed("epochs", epochs, int), "fallback": fallback},
        per_class=per_class,
        context_labels=context_labels,
        begins=begin is not None,
        dequantize=dequantize,
        seed=typed("seed", seed, int),
    )
    if output is None and resume:
        raise BadInputError(
            "Expected an output with resume, which names the file to continue from; got none. Give one."
        )
    with TemporaryDirectory() as temporary:
        model = Path(temporary) / "model.pt" if output is None else path_of(output, "the model file")
        plan.validate_target(model, resume=resume, force=force)
        plan.validate_choices()
        folder = path_of(data_dir, "data_dir")
        start = None if begin is None else models.model_of(begin)
        own = None if start is None else Columns(start.dim, start.columns)
        given = dataset_of(
            data,
            data_dir=folder,
            levels=levels,
            columns=columns,
            label=label,
            model=own,
            context=context,
            context_columns=context_columns,
        )
        rows, _ = plan.prepared(given)
        for sentence in warnings_of(rows):
            warnings.warn(sentence, DataWarning, stacklevel=2)
        weights = None if start is None else start.checkpoint.weights
        with exclusive(model), TrainingBar() as bar:
            watch = bar.watch if progress else Watch()
            watch = watch if on_epoch is None else watch.also(on_epoch)
            plan.validate_target(model, resume=resume, force=force)  # another process may have written it
            plan.run(rows, model, begin=weights, device=device, resume=resume, watch=watch)
        trained = models.read(model)
    return trained if output is not None else models.of_no_file(trained)


def load(
    path: PathLike, *, latent_stats: PathLike | None = None, preprocess: Literal["none", "paper"] = "none"
) -> Model:
    """Return the model in a file of `train`, `save` or `lunet-export import`, or in the authors' best.pth.

    From the file of a training loop, such as {"model_state_dict": state, "optimizer": ...}, the state is taken, without
    prefixes such as `module.`; `notes` of the model says so.

    Args:
        path: Path of the model file, of torch.save or of safetensors.
        latent_stats: Path of the authors' best_stats.pth, folded exactly into the last block.
        preprocess: Pre-processing of the authors' files, which do not record it: `paper` is 256 levels, margin 1e-5.

    Raises:
        CheckpointError: if the file is missing, unreadable or of another kind, or holds several networks, or the
            statistics belong to another network.
        BadInputError: if the pre-processing is unknown.
        MissingPackageError: if the file is a .safetensors file and safetensors is not installed.
        UnreadableError: if the operating system does not let a file be read.

    Warns:
        UserWarning: if it had to be assumed that the statistics belong to this network.

    Examples:
        >>> model = lunet_export.load("model.pt")
        >>> model.distribution.kind.name
        'lunet'
    """
    from lunet_export.api import models

    stats = None if latent_stats is None else path_of(latent_stats, "latent_stats")
    model = models.read(path_of(path, "the model file"), latent_stats=stats, preprocess=preprocess)
    for sentence in model.checkpoint.assumed:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return model


def save(model: ModelLike, path: PathLike, *, columns: Sequence[str] | None = None, force: bool = False) -> Model:
    """Write a model file, which every command takes, and return the model as `load` returns it.

    The file is written whole or not at all. Weights are written in the dtype of the model, so that they are read back
    unchanged. For an LU-Net in float64 the file holds log|u_ii|, and u_ii is read back to within rounding.

    Args:
        model: A `Model`, a `Flow`, a `Chain`, a `Mixture`, a flow of FrEIA, glasflow, nflows, normflows, sbi or
            zuko, or the path of a model file.
        path: Path of the file to write, ending in .pt or, for safetensors, in .safetensors.
        columns: Names of the D columns, which samples then have; None keeps those of the model.
        force: Whether an existing file is replaced.

    Raises:
        BadInputError: if the file exists or has another ending, `model` is not a model, or `columns` are not D
            different names.
        UnsupportedLayersError, CheckpointError, CheckFailedError: as `convert` and `load` raise.

    Examples:
        >>> flow = lunet_export.load("model.pt").flow("float64")  # a torch.nn.Module
        >>> lunet_export.save(flow, "copy.pt")
        Model(lunet, dim=5, dtype=float64, copy.pt)
    """
    from lunet_export import checkpoint
    from lunet_export.api import models
    from lunet_export.files import exclusive

    target = path_of(path, "the model file")
    models.validate_model_path(target, force=force)
    given = models.model_of(model, columns)
    with exclusive(target):
        models.validate_model_path(target, force=force)  # another process may have written it
        checkpoint.write_checkpoint(target, given.checkpoint)
    return models.read(target)


def export(
    model: ModelLike,
    folder: PathLike,
    *,
    solver: str | None = None,
    tile: int | None = None,
    dtype: Literal["float32", "float64", "float16"] = "float32",
    with_log_prob: bool = False,
    rng: bool = False,
    steps: int | None = None,
    hutchinson: bool = False,
    target: Literal["cpu", "cuda"] = "cpu",
    batch: int = 1,
    columns: Sequence[str] | None = None,
    force: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
    provider: Provider = "auto",
    threads: int | None = None,
    cuda: CudaOptions | Mapping[str, Any] | None = None,
) -> ExportedFlow | ExportedClasses:
    """Write density.onnx and sampling.onnx of a model, checked, as `lunet-export export` does, and open the folder.

    density maps x (N, D) to log p(x) (N,) in nats and z (N, D); sampling maps z to x. Both are compared with the
    float64 reference before the folder appears, whole or not at all. The command writes the same bytes.

    Args:
        model: A `Model`, a `Flow`, a `Chain`, a `Mixture`, a flow of FrEIA, glasflow, nflows, normflows, sbi or
            zuko, or the path of a model file. Convert a conditional flow by `convert(flow, context=c)` first, and a
            module of your own by `convert(layers, reference=module)`.
        folder: Folder to write; its last part becomes the name of the model.
        solver: Solver of triangular systems: `unrolled`, the default, `rows`, `meeting`, `inverse`, `fused` or `auto`.
        tile: Number of rows of the solver's tile; None takes its default.
        dtype: Dtype of the graphs; with float16 only the matrix products are float16.
        with_log_prob: Whether to also write a graph z -> x, log_prob.
        rng: Whether to also write a graph that draws z itself.
        steps: Runge-Kutta steps per block of a JKO-iFlow; None takes those of the training.
        hutchinson: Whether to also write a graph of a JKO-iFlow that estimates log_prob along probes.
        target: Device that `auto` assumes.
        batch: Rows per call that `auto` assumes.
        columns: Names of the D columns, which samples then have; None keeps those of the model.
        force: Whether an existing exported folder is replaced.
        on_stage: Function that is called with a few words before each stage.
        provider: Execution provider that the folder is opened with: `cpu`, `cuda` or `auto`.
        threads: CPU threads of each session; None takes ONNX Runtime's own choice.
        cuda: Options of CUDA.

    Returns:
        The opened folder: `ExportedClasses` for a model with one network per class, else `ExportedFlow`.

    Raises:
        BadInputError: if the folder exists, a setting does not fit, or `model` is not a model.
        UnsupportedLayersError, CheckpointError: as `convert` and `load` raise.
        CheckFailedError: if a check failed; then nothing is written.
        ProviderError: if the provider that was asked for cannot run.

    Examples:
        >>> with lunet_export.export("model.pt", "exported/mine") as flow:
        ...     x = flow.sample(10, seed=7)
        >>> x.shape
        (10, 5)
    """
    from lunet_export.api import exporting, models
    from lunet_export.export import ExportSettings, Load

    made_for = Load(target, typed("batch", batch, int))
    tile, steps = (
        None if value is None else typed(name, value, int) for name, value in (("tile", tile), ("steps", steps))
    )
    settings = ExportSettings(solver, tile, dtype, with_log_prob, rng, made_for, steps=steps, hutchinson=hutchinson)
    destination = path_of(folder, "the folder")
    exporting.write(
        models.model_of(model, columns), destination, settings, force=force, compare=False, on_stage=on_stage
    )
    return open_export(destination, provider=provider, threads=threads, cuda=cuda)


def check(
    folder: PathLike,
    *,
    model: ModelLike | None = None,
    seed: int = 1,
    provider: Provider = "auto",
    threads: int | None = None,
    cuda: CudaOptions | Mapping[str, Any] | None = None,
) -> Checks:
    """Check a folder against its float64 test vectors, as `lunet-export check` does.

    On CUDA the self-test of the GPU runs too: replays, rows that stay on the device, placement, TF32 and latency.

    Args:
        folder: Folder of an export.
        model: Model that the folder was exported from, as `export` takes it; with it, fresh inputs, eager PyTorch and
            the chains without pre-processing are compared too.
        seed: Seed of the fresh inputs.
        provider: Execution provider that is checked: `cpu`, `cuda` or `auto`.
        threads: CPU threads of each session; None takes ONNX Runtime's own choice.
        cuda: Options of CUDA.

    Returns:
        List of all checks, each with its largest difference and what was allowed there; it is shown as a table.

    Raises:
        CheckFailedError: if an answer is not within its tolerance; `checks` of the error holds all checks.
        ArtifactError: if the folder is missing, altered or malformed.
        BadInputError: if the folder was exported from another model.
        ProviderError: if the provider that was asked for cannot run.

    Examples:
        >>> checks = lunet_export.check("exported/mine", model="model.pt")
        >>> all(check.passed for check in checks)
        True
    """
    from lunet_export.api import checking, models
    from lunet_export.parity import all_passed

    source = None if model is None else models.model_of(model)
    path = path_of(folder, "the folder")
    with open_export(path, provider=provider, threads=threads, cuda=cuda) as flow:
        checks = checking.checks_of(flow, source, folder=path, seed=seed, threads=threads)
        of_gpu = checking.self_test(flow, threads=threads)
    checks = checking.Checks([*checks, *(of_gpu.checks if of_gpu else [])])
    if not all_passed(checks):
        raise checking.FailedChecksError(checks, on_gpu=of_gpu is not None)
    return checks


def _one_of(value: FlowName, names: Any, what: str) -> FlowName:  # noqa: ANN401
    """Return the value if it is one of a literal type's values."""
    if value not in names.__args__:
        raise BadInputError(f"Expected a {what} of {', '.join(names.__args__)}; got {value}. Give one of these.")
    return value
