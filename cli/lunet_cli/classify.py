"""`lunet-export classify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli import output
from lunet_cli.options import (
    Against,
    Arena,
    ArenaName,
    DataDir,
    DeviceId,
    Json,
    MemoryLimit,
    Provider,
    ProviderName,
    Seed,
    Tf32,
    Threads,
    cuda_options,
)
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from lunet_export.diagnostics import Classification


def classify(
    source: Annotated[
        Path, typer.Argument(help="A model file or an exported folder with a network a class.", show_default=False)
    ],
    dataset: Annotated[str, typer.Argument(help="digits, mnist or fashion-mnist.", show_default=False)],
    data_dir: DataDir = Path("data"),
    seed: Seed = 0,
    against: Against = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the confusion matrix, as PNG.", show_default=False)
    ] = None,
    provider: Provider = ProviderName.AUTO,
    threads: Threads = None,
    device_id: DeviceId = 0,
    memory_limit: MemoryLimit = None,
    arena: Arena = ArenaName.NEXT_POWER_OF_TWO,
    tf32: Tf32 = False,
    as_json: Json = False,
) -> None:
    """Classify test rows by Bayes' rule; say how often it is right.

    The class with the largest posterior pi_c p_c(x) / p(x) is taken. A model file is judged by the float64 reference,
    where the options of providers do not apply; a folder by its density graph.

    Example: lunet-export classify exported/digits-classes digits --plot confusion.png
    """
    from lunet_export import data as datasets
    from lunet_export import diagnostics

    if plot is not None and plot.suffix != ".png":
        raise BadInputError(f"Expected --plot FILE.png; got {plot}.")
    output.refuse_unwritable("--plot", plot)
    judged: diagnostics.ClassFolderSource | diagnostics.MixtureSource
    if source.is_dir():
        from lunet_export.runtime import ExportedClasses

        cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
        flow = ExportedClasses(source, provider=provider.value, threads=threads, cuda=cuda)
        judged = diagnostics.ClassFolderSource(flow)
        where = {"provider": flow.provider, "provider_reason": flow.provider_reason}
    else:
        from lunet_export import checkpoint

        judged = diagnostics.MixtureSource(checkpoint.read(source).mixture)
        where = {"provider": "reference", "provider_reason": "a model file"}
    rows = datasets.load(dataset, data_dir=data_dir)
    other = None
    if against is not None:
        other = diagnostics.load(against, judged.preprocessing, data_dir=data_dir, levels=None)
        if misfit := diagnostics.misfit_of(other, judged.preprocessing, judged.dim):
            output.warn(misfit.sentence)
    with output.progress(len(rows.test) + (len(other.test) if other else 0), f"classifying {rows.name}") as bar:
        found = diagnostics.classify(
            judged, rows, seed=seed, against=other, on_rows=lambda n: bar.advance(bar.task_ids[0], n)
        )
    if plot is not None:
        from lunet_cli.confusion_plot import draw

        with whole_file(plot) as temporary:
            draw(found, temporary, title=f"{source.name} on {found.dataset}: {found.accuracy:.2%}")
    if as_json:
        output.dump({"source": str(source), **where, **found.as_json()})
    else:
        _say(found)


def _say(found: "Classification") -> None:
    output.table(
        ["class", "rows", "recall", "precision", "bits/dim under its own network"],
        [
            (entry.name, str(entry.rows), f"{entry.recall:.2%}", f"{entry.precision:.2%}", f"{entry.bits_per_dim:.4f}")
            for entry in found.classes
        ],
    )
    names = [entry.name for entry in found.classes]
    counts = [(name, *map(str, line)) for name, line in zip(names, found.confusion.tolist(), strict=True)]
    output.table(["true class; found to be", *names], counts)
    output.say(
        f"accuracy {found.accuracy:.2%} of {found.rows} test rows, log loss {found.log_loss:.4f} nats, "
        f"mixture {found.bits_per_dim:.4f} bits/dim"
    )
    if found.detection:
        from lunet_cli import detection

        output.pairs([detection.line(found.detection)])
