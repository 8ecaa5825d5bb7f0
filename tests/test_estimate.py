"""What each solver would cost and lose, and what `auto` makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export.errors import BadInputError
from lunet_export.export import ExportSettings, Load, Provenance, export
from lunet_export.flows import lunet
from lunet_export.graphs import solvers
from lunet_export.graphs.estimate import estimates, fastest
from lunet_export.layers import LU, Chain
from tests.networks import network

DIM = 24


def growing() -> Chain:
    """Well-conditioned blocks whose LU without pivoting grows: tiles of inverted triangles lose digits."""
    rng, blocks = np.random.default_rng(0), []
    for _ in range(3):
        upper, lower = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0], np.eye(DIM)
        upper[0, 0] *= 1e-3
        for k in range(DIM):
            lower[k + 1 :, k] = upper[k + 1 :, k] / upper[k, k]
            upper[k + 1 :] -= lower[k + 1 :, k, None] * upper[k]
        blocks.append(LU(lower, np.triu(upper), rng.standard_normal(DIM)))
    return lunet(tuple(blocks), 0.1)


def by_name(weights, **options):
    return {estimate.solver.name: estimate for estimate in estimates(weights, dtype="float32", **options)}


def test_counts_are_those_of_the_graphs(tmp_path):
    weights = network(DIM, 3)
    found = by_name(weights)
    assert list(found) == list(solvers.SOLVERS)
    for name in ("unrolled", "fused"):
        graph = export(weights, tmp_path / name, Provenance("m"), ExportSettings(solver=name)).manifest.document
        sampling = graph["graphs"]["sampling"]
        assert (found[name].nodes, found[name].work_items) == (sampling["nodes"], sampling["work_items"])
        assert abs(found[name].bytes - sampling["bytes"]) < 1000  # metadata
    assert found["fused"].flops < found["meeting"].flops < found["unrolled"].flops
    assert found["rows"].nodes > found["unrolled"].nodes > found["inverse"].nodes > found["fused"].nodes


def test_predicted_errors_are_within_the_tolerance_on_well_conditioned_networks():
    assert all(0 < estimate.share < 0.4 for estimate in by_name(network(DIM, 3)).values())


def test_more_launches_cost_more_on_the_gpu_at_batch_1():
    weights = network(DIM, 3)
    cpu, cuda = (by_name(weights, load=Load(name, 1)) for name in ("cpu", "cuda"))
    assert cuda["rows"].milliseconds / cuda["fused"].milliseconds > 5
    assert all(cuda[name].milliseconds > cpu[name].milliseconds for name in cpu)
    crowded = by_name(weights, load=Load("cpu", 4096))
    assert crowded["inverse"].milliseconds > cpu["inverse"].milliseconds * 10


def test_auto_leaves_out_what_loses_digits():
    found = by_name(growing())
    assert found["unrolled"].share > 2 * found["fused"].share
    faked = [replace(found["fused"], share=0.9), replace(found["unrolled"], share=0.3)]
    assert fastest(faked).solver.name == "unrolled"
    hopeless = [replace(estimate, share=2.0) for estimate in faked[:1]] + [replace(faked[1], share=1.5)]
    assert fastest(hopeless).solver.name == "unrolled"


def test_auto_takes_the_fastest(tmp_path):
    settings = ExportSettings(solver="auto", load=Load("cuda", 1))
    exported = export(network(DIM, 3), tmp_path / "m", Provenance("m"), settings)
    chosen = exported.blueprint
    assert chosen.solver.name == exported.manifest.document["graphs"]["sampling"]["solver"]["name"] == "fused"
    assert chosen.estimate.milliseconds == min(estimate.milliseconds for estimate in chosen.estimates)


def test_float16_errors_are_larger():
    weights = network(DIM, 3)
    single = by_name(weights)["fused"]
    (half,) = estimates(weights, dtype="float32", products="float16", among=[single.solver])
    assert half.error > 100 * single.error


def test_auto_takes_no_tile(tmp_path):
    with pytest.raises(BadInputError, match="Expected no `tile` with `solver='auto'`"):
        export(network(4, 2), tmp_path / "m", Provenance("m"), ExportSettings(solver="auto", tile=2))


@pytest.mark.parametrize("load", [("tpu", 1), ("cpu", 0)])
def test_an_impossible_load_is_refused(load):
    with pytest.raises(BadInputError, match="Expected a provider of cpu, cuda and a batch of 1 or more"):
        Load(*load)


def test_a_solver_that_cannot_be_built_is_left_out_and_hinders_no_other(tmp_path):
    """Unrolled stores 300 twice; fused would store 90000, beyond float16."""
    block = LU(np.array([[1.0, 0.0], [300.0, 1.0]]), np.diag([1.0, 1 / 300]), np.zeros(2))
    found = estimates(lunet((block,), 0.1), dtype="float32", products="float16")
    names = {estimate.solver.name for estimate in found}
    assert "unrolled" in names
    assert "fused" not in names


def test_solvers_beyond_2_gb_are_never_built(monkeypatch):
    from lunet_export.graphs import sizes

    monkeypatch.setattr(sizes, "LARGEST_BYTES", 3 * DIM**2 * 4 + 3 * DIM * 4)
    assert set(by_name(network(DIM, 3))) == {"rows", "meeting", "fused"}
    monkeypatch.setattr(sizes, "LARGEST_BYTES", 1)
    with pytest.raises(BadInputError, match="Expected graphs of at most 2 GB"):
        estimates(network(DIM, 3), dtype="float32")
