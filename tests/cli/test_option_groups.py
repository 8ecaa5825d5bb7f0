"""A command that takes dataclasses is a command with their fields as options."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

import pytest
from typer import Argument, Option, Typer
from typer.testing import CliRunner

from lunet_cli.option_groups import changed, chosen, expanded, option

Colour = StrEnum("Colour", ["dark-red", "blue"])


@dataclass(frozen=True, kw_only=True)
class Inner:
    PANEL: ClassVar[str] = "Finer"

    step_size: float | None = option(None, "How far.")
    colour: Colour | None = option(None, "Which.", "--paint")


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: Annotated[int, Option(min=1, help="How many.")] = 3
    inner: Inner
    loud: bool = option(False, "Say it aloud.")
    kept: bool = option(True, "Keep it.")


@pytest.fixture
def call():
    """Run a command with these arguments; what it was given, or the text that it printed."""
    taken = []

    def command(name: Annotated[str, Argument(help="Whose.")], *, outer: Outer, force: bool = False) -> None:
        taken.append((name, outer, force))

    app = Typer(rich_markup_mode="rich")
    app.command()(expanded(command))

    def called(*arguments: str):
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120", "TERM": "dumb"})
        return taken.pop() if taken else result.output

    return called


def test_without_options_all_is_as_declared(call):
    assert call("x") == ("x", Outer(count=3, inner=Inner(), loud=False, kept=True), False)


def test_each_field_is_an_option_whatever_its_depth(call):
    arguments = ("x", "--count", "5", "--step-size", "0.5", "--paint", "dark-red", "--loud", "--no-kept", "--force")
    inner = Inner(step_size=0.5, colour=Colour("dark-red"))
    assert call(*arguments) == ("x", Outer(count=5, inner=inner, loud=True, kept=False), True)


def test_what_does_not_fit_is_refused(call):
    assert "--count" in call("x", "--count", "0")
    assert "No such option" in call("x", "--no-loud")


def test_the_help_has_panels_and_no_default_that_is_none(call):
    text = call("--help")
    usual, _, finer = text.partition("─ Finer ")
    assert ("--count" in usual, "--step-size" in usual, "--step-size" in finer, "--paint" in finer) == (1, 0, 1, 1)
    assert ("None" in text, "--no-loud" in text, "--no-kept" in text, "[default: 3]" in text) == (0, 0, 1, 1)


def test_values_are_told_by_name():
    group = Inner(step_size=0.0, colour=Colour("dark-red"))
    assert chosen(group) == {"step_size": 0.0, "colour": "dark-red"}
    assert type(chosen(group)["colour"]) is str
    assert chosen(Inner()) == {}
    assert changed(group) == ["--step-size", "--colour"]
    assert changed(Inner()) == []
