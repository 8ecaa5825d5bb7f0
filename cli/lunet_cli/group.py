"""The group of all commands: the short form `lunet-export MODEL`, and one sentence with an exit code for each error."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperGroup

from lunet_cli import arguments, output, signals
from lunet_cli.failures import explain
from lunet_export.errors import did_you_mean

if TYPE_CHECKING:
    from typer._click import Context

#: Key of the context's `meta` under which a command finds the arguments that were typed after `lunet-export`.
ARGUMENTS = "lunet_cli.arguments"


class Group(TyperGroup):
    """The group of all commands."""

    _as_json = False

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Read `lunet-export MODEL ...` as `lunet-export export MODEL ...`."""
        own = {option for parameter in self.params for option in parameter.opts} | {*ctx.help_option_names}
        if args and args[0] not in own and args[0] not in self.commands:
            first = Path(args[0])
            if not args[0].startswith("-") and not first.suffix and not first.exists() and not ctx.resilient_parsing:
                known = list(self.commands)
                meant = did_you_mean(args[0], known)
                self._fail(f"Expected a command ({', '.join(known)}) or a model file; got {args[0]}.{meant}", 2, {})
            args = ["export", *args]
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: "Context | None" = None, **extra: object
    ) -> "Context":
        """Read the arguments; print the help or the version if they ask for it. Errors are handled as in `invoke`."""
        self._as_json = "--json" in args
        with self._sentences():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: "Context") -> object:
        """Run a command; turn every error that a user can cause into a sentence and an exit code."""
        with self._sentences():
            return super().invoke(ctx)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Hold back the JSON until the command ends, so that one document has both its result and its error."""
        with arguments.spoken_of(self.commands), output.held() as documents:
            try:
                yield
                output.release(documents)
            except BaseException as error:
                if (explained := explain(error)) is None:
                    output.release(documents)
                    raise
                self._fail(*explained, documents[-1] if documents else {})

    def _fail(self, sentence: str, code: int, document: dict[str, Any]) -> NoReturn:
        signals.ignore_signals()
        stopped = signals.received()
        if stopped is not None:  # the error is a consequence of the signal
            sentence, code = stopped.sentence, stopped.exit_code
        output.complain(sentence)
        if self._as_json:
            with suppress(OSError):  # stdout itself may have failed
                output.write({**document, "passed": False, "error": arguments.in_options(sentence), "exit_code": code})
        raise typer.Exit(code)
