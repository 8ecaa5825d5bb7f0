"""The application; registers the commands."""

import re
from collections.abc import Callable
from inspect import getdoc
from typing import Annotated

import typer

import lunet_export
from lunet_cli import output, signals
from lunet_cli.bench import bench
from lunet_cli.certify import certify
from lunet_cli.check import check
from lunet_cli.classify import classify
from lunet_cli.demo_page import demo_page, serve
from lunet_cli.diagnose import diagnose
from lunet_cli.doctor import doctor
from lunet_cli.embed import embed
from lunet_cli.export import export
from lunet_cli.group import Group
from lunet_cli.import_ import import_
from lunet_cli.inspect import inspect
from lunet_cli.option_groups import expanded
from lunet_cli.plot import plot
from lunet_cli.recalibrate import recalibrate
from lunet_cli.replay import replay
from lunet_cli.sample import sample
from lunet_cli.score import score
from lunet_cli.sign import sign
from lunet_cli.train import train
from lunet_cli.triton import triton
from lunet_cli.verify import verify

app = typer.Typer(
    cls=Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich"
)


def _version(wanted: bool) -> None:
    if wanted:
        output.say(f"lunet-export {lunet_export.__version__}")
        raise typer.Exit


def _paragraphs(command: Callable[..., None]) -> str:
    """The help of a command: its docstring, whose lines are those of no terminal."""
    return re.sub(r"(?<!\n)\n(?!\n|Example:)", " ", getdoc(command) or "")


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train LU-Net normalizing flows and export them to plain ONNX graphs, checked.

    The short form [bold]lunet-export MODEL.pt[/] exports.

    Exit: 0 good, 1 check failed, 2 bad input, 3 no provider, 4 system, 70 defect, 130 Ctrl-C
    """


for command in (
    train,
    import_,
    recalibrate,
    diagnose,
    certify,
    plot,
    export,
    check,
    verify,
    sign,
    replay,
    sample,
    score,
    classify,
    inspect,
    bench,
    doctor,
    triton,
    embed,
    demo_page,
    serve,
):
    app.command(command.__name__.rstrip("_").replace("_", "-"), help=_paragraphs(command))(expanded(command))


def main() -> None:
    """Run the command line, in a process that may be in order already."""
    signals.prepare()
    signals.run(lambda: app(prog_name="lunet-export"))
