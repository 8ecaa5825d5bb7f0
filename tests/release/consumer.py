"""A user's program: `mypy --strict` sees the package's types from outside, and it runs where no PyTorch is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lunet_export
from lunet_export import ExportedClasses, ExportedFlow, LunetExportError
from lunet_export.api import Model
from lunet_export.errors import ArtifactError, ProviderError
from lunet_export.inventory import Inventory, take

Floats = NDArray[np.floating]


def drawn(flow: ExportedFlow, rows: int) -> Floats:
    """Rows of the model, and their density."""
    x, log_prob = flow.sample_and_log_prob(rows, seed=7)
    assert log_prob.shape == (rows,)
    return x


def opened(folder: Path) -> ExportedFlow | None:
    """The export of a folder, if it is one."""
    try:
        return ExportedFlow(folder, provider="cpu", threads=1)
    except ArtifactError as error:
        print(error)
    except ProviderError as error:
        print(error.exit_code)
    return None


def classes(flow: ExportedClasses, x: Floats) -> NDArray[np.int64]:
    """The class of each row."""
    return flow.classify(x)


def trained(rows: Floats, folder: Path) -> ExportedFlow | ExportedClasses:
    """A model and its folder, which `main` does not make."""
    model: Model = lunet_export.train(rows, folder / "m.pt", flow="lunet", epochs=3, blocks=2, on_epoch=print)
    model = lunet_export.save(model.flow("float64"), str(folder / "copy.pt"), force=True)
    figure: float = model.training["test"]
    print(figure, model.dim, lunet_export.load(folder / "copy.pt").distribution.dim)
    return lunet_export.export(model, folder / "m", dtype="float64", provider="cpu", on_stage=print)


def main() -> None:
    """Everything above."""
    found: Inventory = take(Path("toy2d"))
    flow = opened(Path("toy2d"))
    assert flow is not None
    z: Floats = flow.encode(drawn(flow, 4))
    accepted: NDArray[np.bool_] = flow.accepts(z)
    assert accepted.all()
    assert opened(Path("nothing")) is None
    passed: list[bool] = [entry.passed for entry in lunet_export.check("toy2d", provider="cpu", threads=1)]
    assert all(passed)
    with flow:
        page: str = flow._repr_html_()
    assert "<svg" in page
    code: int = LunetExportError.exit_code
    version: str = lunet_export.__version__
    print(z.shape, code, version, found.digest)


if __name__ == "__main__":
    main()
