"""What every command shares: the short form `lunet-export MODEL`, and one sentence with an exit code for each error."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from lunet_cli import output, start
from lunet_export.errors import LunetExportError

OPERATING_SYSTEM, INTERRUPTED = 4, 130

_EXTRA = {"torch": "train", "onnx": "train", "scipy": "train", "sklearn": "train", "matplotlib": "train"}
_EXTRA |= {"PIL": "cpu", "onnxruntime": "cpu"}


class Group(TyperGroup):
    """The group of all commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """`lunet-export MODEL ...` means `lunet-export export MODEL ...`."""
        own = {option for parameter in self.params for option in parameter.opts} | {"--help"}
        if args and args[0] not in own and args[0] not in self.commands:
            first = Path(args[0])
            if not args[0].startswith("-") and not first.suffix and not first.exists():
                self._fail(f"Expected a command ({', '.join(self.commands)}) or a model file; got {args[0]}.", 2)
            args = ["export", *args]
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        """Read the arguments, which prints where they ask for help or the version; as `invoke`."""
        with self._sentences():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run a command; turn what a user can cause into a sentence and an exit code."""
        with self._sentences():
            return super().invoke(ctx)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except LunetExportError as error:
            self._fail(str(error), error.exit_code)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _EXTRA:
                raise
            self._fail(
                f"Expected {package}; it is not installed. Run: pip install 'lunet-export[{_EXTRA[package]}]'", 2
            )
        except ImportError as error:
            self._fail(f"Expected {error.name or 'a package'} to be imported; {str(error).splitlines()[0]}.", 2)
        except start.Stopped as stopped:
            self._fail(stopped.sentence, stopped.exit_code)
        except KeyboardInterrupt:
            self._fail("Stopped by Ctrl-C; no file is half-written.", INTERRUPTED)
        except (MemoryError, OverflowError):
            self._fail("Expected a size that fits this machine's memory; got a larger one. Ask for less.", 2)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f" ({error.filename})" if error.filename else ""
            self._fail(f"The operating system refused: {error.strerror or error}{where}.", OPERATING_SYSTEM)

    @staticmethod
    def _fail(sentence: str, code: int) -> None:
        start.ignore_signals()
        stopped = start.received()
        if stopped is not None:  # then this is what came of it
            sentence, code = stopped.sentence, stopped.exit_code
        output.complain(sentence)
        raise typer.Exit(code)
