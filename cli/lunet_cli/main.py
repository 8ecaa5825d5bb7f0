"""The command line, with all commands registered."""

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
from lunet_cli.format_ import format_
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
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: The commands by the panels of the help that list them.
PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Train": (train, import_, recalibrate),
    "Export": (export, inspect, format_),
    "Check": (check, verify, sign, diagnose, certify, replay, doctor),
    "Run": (sample, score, classify, plot, bench),
    "Deploy": (triton, embed, demo_page, serve),
}


def _version(wanted: bool) -> None:
    if wanted:
        output.say(f"lunet-export {lunet_export.__version__}")
        raise typer.Exit


def _paragraphs(command: Callable[..., None]) -> str:
    """Return the help of a command: its docstring, each paragraph on one line so that the terminal breaks it."""
    return re.sub(r"(?<!\n)\n(?!\n|Example:)", " ", getdoc(command) or "")


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train LU-Net normalizing flows and export them to plain ONNX graphs, checked.

    Example: lunet-export train digits -o m.pt; lunet-export m.pt

    Exit: 0 good, 1 check failed, 2 bad input, 3 no provider, 4 system, 70 defect, 130 Ctrl-C
    """


for panel, commands in PANELS.items():
    for command in commands:
        name = command.__name__.rstrip("_").replace("_", "-")
        app.command(name, help=_paragraphs(command), rich_help_panel=panel)(expanded(command))


def main() -> None:
    """Run the command line. The process may have been prepared already."""
    signals.prepare()
    signals.run(lambda: app(prog_name="lunet-export"))
