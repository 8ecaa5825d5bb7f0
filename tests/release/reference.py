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

from tests.surface import PUBLIC

render.configure(docformat="google", show_source=False, footer_text="lunet-export")

#: What Python makes of aliases that people know by their names.
_EXPANDED = {
    inspect.formatannotation(ArrayLike | None): "ArrayLike | None",
    inspect.formatannotation(ArrayLike): "ArrayLike",
}
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
        with (
            mock.patch.object(inspect, "formatannotation", readable),
            mock.patch.object(doc, "formatannotation", readable),
        ):
            pdoc.pdoc(*modules, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
