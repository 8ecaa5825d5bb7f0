"""The API reference as pages of HTML: `python -m tests.release.reference FOLDER`."""

import inspect
import re
import sys
import warnings
from pathlib import Path
from unittest import mock

import pdoc
from numpy.typing import ArrayLike
from pdoc import doc, render

import lunet_export
from tests.surface import PUBLIC

render.configure(docformat="google", show_source=False, footer_text="lunet-export")

#: What Python makes of aliases that people know by their names.
_EXPANDED = {
    inspect.formatannotation(ArrayLike | None): "ArrayLike | None",
    inspect.formatannotation(ArrayLike): "ArrayLike",
    inspect.formatannotation(ArrayLike).removeprefix("Union[").removesuffix("]"): "ArrayLike",  # in a larger union
}
#: Modules that pdoc finds by itself, since the package has a function of that name beside them.
_FOUND = tuple(f"lunet_export.{name}" for name in lunet_export.__all__ if f"lunet_export.{name}" in PUBLIC)
_ARRAY = re.compile(r"numpy\.ndarray\[tuple\[typing\.Any, \.\.\.\], numpy\.dtype\[([\w.]+)\]\]")


def write(folder: Path, modules: tuple[str, ...] = PUBLIC) -> None:
    """Write the pages. What pdoc warns of, as an annotation that it cannot resolve, is an error."""
    own = inspect.formatannotation

    def readable(annotation: object, *rest: object) -> str:
        text = own(annotation, *rest)
        for long, short in _EXPANDED.items():
            text = text.replace(long, short)
        return _ARRAY.sub(r"NDArray[\1]", text)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("default", category=DeprecationWarning)
        # A TypedDict does not tell which of its bases a key is from.
        warnings.filterwarnings("ignore", message=r"Cannot determine where .*\.TrainingChoices\.")
        with (
            mock.patch.object(inspect, "formatannotation", readable),
            mock.patch.object(doc, "formatannotation", readable),
        ):
            pdoc.pdoc(*(module for module in modules if module not in _FOUND), output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
