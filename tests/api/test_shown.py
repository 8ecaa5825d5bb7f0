"""What a notebook shows of an export and of a model."""

from xml.etree import ElementTree

import numpy as np
import pytest

import lunet_export
from lunet_export import ExportedClasses, ExportedFlow
from lunet_export.artifact import open_folder
from lunet_export.pictures import html
from lunet_export.runtime import open_export
from tests.api.conftest import OPTIONS, rows
from tests.conftest import ROOT
from tests.networks import network


def facts(page):
    """The table of a page, by name, and how many figures are beside it."""
    tree = ElementTree.fromstring(page)
    rows = [[cell.text for cell in row] for row in tree[0].iter("tr")]
    return dict(rows), len(tree) - 1


def test_a_flow_shows_its_facts_and_its_samples():
    with ExportedFlow(ROOT / "exported" / "toy2d", provider="cpu") as flow:
        page = flow._repr_html_()
        told, figures = facts(page)
        drawn = html.samples(flow.sample(html.POINTS, seed=0), flow.manifest)
    assert told == {
        "kind": "lunet",
        "dimensions": "2",
        "dtype": "float32",
        "provider": "cpu (asked for)",
        "test": "0.7802 bits/dim",
        "graphs": "density 17 kB, sampling 59 kB",
    }
    assert figures == 1
    assert drawn in page


def test_classes_show_theirs(exported_classes):
    with ExportedClasses(exported_classes.folder, provider="cpu") as classes:
        told, figures = facts(classes._repr_html_())
        drawn = html.samples(classes.sample(html.IMAGES, seed=0), classes.manifest)
        assert drawn in classes._repr_html_()
    size = sum((exported_classes.folder / f"sampling_{number}.onnx").stat().st_size for number in range(3))
    assert (told["kind"], told["classes"], told["images"]) == ("lunet-classes", ", ".join(classes.names), "4 x 4")
    assert f"sampling {size / 1000:,.0f} kB" in told["graphs"]
    assert figures == 1


@pytest.mark.parametrize("name", ["toy2d", "digits", "digits-classes"])
def test_a_closed_one_shows_its_facts_alone(name):
    flow = open_export(ROOT / "exported" / name, provider="cpu")
    open_one, _ = facts(flow._repr_html_())
    flow.close()
    assert facts(flow._repr_html_()) == (open_one, 0)


@pytest.mark.parametrize("error", [ImportError("PIL"), RuntimeError("device lost"), MemoryError()])
def test_nothing_is_raised(exported, monkeypatch, error):
    def failing(*arguments):
        raise error

    flow = ExportedFlow(exported.folder, provider="cpu")
    monkeypatch.setattr(html, "samples", failing)
    assert facts(flow._repr_html_())[1] == 0


def test_a_vector_flow_shows_a_table_of_rows(tmp_path):
    with lunet_export.export(network(3, 2), tmp_path / "three", provider="cpu") as flow:
        page = flow._repr_html_()
        assert html.samples(flow.sample(html.ROWS, seed=0), flow.manifest) in page
    assert page.count("<td>") == len(facts(page)[0]) + 15


def test_columns_that_have_names_are_shown_by_them(tmp_path):
    table = tmp_path / "stars.csv"
    np.savetxt(table, rows(), delimiter=",", header="mass,radius", comments="")
    model = lunet_export.train(table, tmp_path / "m.pt", progress=False, **OPTIONS)
    assert facts(model._repr_html_())[0]["columns"] == "mass, radius"
    with lunet_export.export(model, tmp_path / "named", provider="cpu") as flow:
        page = flow._repr_html_()
    assert facts(page)[0]["columns"] == "mass, radius"
    assert ">mass</text>" in page


def test_looking_at_a_flow_captures_no_size_of_batch(exported, monkeypatch):
    """What is captured on CUDA is kept for good, and the first sizes alone are."""
    flow = ExportedFlow(open_folder(exported.folder), provider="cpu")
    flow.on_device.captured = True
    asked = []
    monkeypatch.setattr(type(flow.on_device), "to_numpy", lambda self, graph, rows: asked.append(len(rows)))
    assert facts(flow._repr_html_())[1] == 1
    assert asked == []


def test_a_model_shows_its_facts_and_its_curve(both, tmp_path):
    model = lunet_export.load(both.model)
    told, figures = facts(model._repr_html_())
    assert (told["kind"], told["dimensions"], told["file"]) == ("lunet", "2", str(both.model))
    assert told["test"] == f"{model.training['test']:.4f} bits/dim"
    assert figures == 1
    copy = tmp_path / "model.pt"
    copy.write_bytes(both.model.read_bytes())
    assert facts(lunet_export.load(copy)._repr_html_())[1] == 0  # no history beside it
    copy.with_suffix(".history.json").write_text("{")
    assert facts(lunet_export.load(copy)._repr_html_())[1] == 0
    classes = lunet_export.load(ROOT / "exported" / "digits-classes.pt")
    told, figures = facts(classes._repr_html_())
    assert (told["classes"], figures) == (", ".join(np.arange(10).astype(str)), 0)
