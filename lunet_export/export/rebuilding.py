"""The blueprint of an exported folder, made again from its model."""

from collections.abc import Mapping
from typing import Any

from lunet_export.artifact import GRAPHS, Manifest, graph_names, graph_of
from lunet_export.distribution import Distribution, Mixture, classes_of, components_of
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.mixture import MixtureBlueprint
from lunet_export.graphs.settings import ExportSettings


def rebuilt(model: Distribution, manifest: Manifest) -> Blueprint | MixtureBlueprint | None:
    """Return the blueprint of a folder; None if the folder was made of another model.

    Choices that the export made, such as the steps of an integration, are taken from the manifest.
    """
    document, flows = manifest.document, components_of(model)
    told = document["classes"] if manifest.names else [document["model"]]
    if classes_of(model) != manifest.names or len(flows) != len(told):
        return None
    for flow, known, entry in zip(flows, manifest.components, told, strict=True):
        same = "steps" in entry or flow.digest() == known.digest
        if flow.kind.name != known.kind.name or not same:
            return None
    graphs = graph_names(GRAPHS, len(manifest.names))[1:]
    own = [_settings(manifest, document["graphs"][graph], entry) for graph, entry in zip(graphs, told, strict=True)]
    if isinstance(model, Mixture):
        found: Blueprint | MixtureBlueprint = MixtureBlueprint.choose(model, _settings(manifest, {}, {}), own)
    else:
        found = Blueprint.choose(model, own[0])
    return found if found.weights.digest() == document["model"].get("sha256_weights") else None


def _settings(manifest: Manifest, sampling: Mapping[str, Any], entry: Mapping[str, Any]) -> ExportSettings:
    """Return the settings of a sampling graph, from the manifest.

    The tile of the solver `rows` is not a setting.
    """
    graphs = {graph_of(name)[0] for name in manifest.graphs}
    optional: dict[str, Any] = {
        "with_log_prob": "sampling_with_log_prob" in graphs,
        "rng": "random_sampling" in graphs,
        "hutchinson": "density_estimate" in graphs,
        "steps": entry.get("steps"),
    }
    solver = sampling.get("solver")
    if solver is None:
        return ExportSettings(dtype=manifest.products, **optional)
    tile = None if solver["name"] == "rows" else solver["tile"]
    return ExportSettings(solver["name"], tile, manifest.products, **optional)
