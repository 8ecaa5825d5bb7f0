"""The service of `docs/examples/fastapi_service.py` answers as `ExportedFlow` does."""

from concurrent.futures import ThreadPoolExecutor
from math import log

import numpy as np
import pytest
from fastapi.testclient import TestClient

from lunet_export import ExportedFlow
from lunet_export.errors import ArtifactError
from lunet_export.runtime import open_export
from tests.conftest import ROOT
from tests.docs.conftest import example

CODE = example("fastapi_service")


@pytest.fixture(scope="module", params=["toy2d", "digits", "digits-classes"])
def served(request):
    """The client of a service, and the folder opened beside it."""
    folder = ROOT / "exported" / request.param
    with TestClient(CODE.service(folder)) as client, open_export(folder, threads=1) as flow:
        yield client, flow


def given(flow):
    """Rows as a client has them."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 17, (7, flow.dim)) if flow.manifest.preprocessing else rng.standard_normal((7, flow.dim))


def test_log_p_is_that_of_the_export(served):
    client, flow = served
    rows = given(flow)
    done = client.post("/score", json={"rows": rows.tolist(), "seed": 3})
    x = flow.dequantize(rows, 3) if flow.manifest.preprocessing else rows
    expected = flow.log_prob(x).astype(np.float64)
    assert done.status_code == 200
    np.testing.assert_array_equal(done.json()["log_prob"], expected)
    rounding = 4 * np.finfo(np.float64).eps  # of two orders of two divisions
    np.testing.assert_allclose(done.json()["bits_per_dim"], -expected / (flow.dim * log(2)), rtol=rounding)


def test_samples_are_those_of_the_export(served):
    client, flow = served
    done = client.post("/sample", json={"n": 5, "seed": 2**64 - 1})
    np.testing.assert_array_equal(np.array(done.json()["rows"], flow.dtype), flow.sample(5, seed=2**64 - 1))
    np.testing.assert_array_equal(client.post("/sample", json={}).json()["rows"], flow.sample(1, seed=0).tolist())


def test_the_model_is_that_of_the_manifest(served):
    client, flow = served
    said = client.get("/model").json()
    assert (said["name"], said["dim"], said["dtype"]) == (flow.manifest.name, flow.dim, str(flow.dtype))
    assert tuple(said["classes"]) == flow.manifest.names
    assert said["sha256_manifest"] == flow.manifest.document["sha256_manifest"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1.0]], "Expected x of shape"),
        ([[1.0, 2.0], [3.0]], "of one length"),
        ([["a", "b"]], "valid number"),
        ([], "at least 1 item"),
        ([[0.0, 0.0]] * 5000, "at most 4096"),
        ([[1e39, 0.0]], "Expected"),
    ],
)
def test_wrong_rows_are_422_with_a_sentence(rows, said):
    with TestClient(CODE.service(ROOT / "exported" / "toy2d")) as client:
        done = client.post("/score", json={"rows": rows})
        assert done.status_code == 422
        assert said in str(done.json()["detail"])
        assert client.post("/sample", json={"n": 0}).status_code == 422
        assert client.post("/sample", json={"n": 1, "seed": -1}).status_code == 422
        assert client.post("/score", json={"rows": [[0.0, 0.0]]}).status_code == 200  # and it goes on


def test_grey_levels_outside_are_422():
    with TestClient(CODE.service(ROOT / "exported" / "digits")) as client:
        done = client.post("/score", json={"rows": [[17.0] * 64]})
        assert (done.status_code, "[0, 17)" in done.json()["detail"]) == (422, True)


def test_requests_at_once_get_their_own_answers():
    folder = ROOT / "exported" / "toy2d"
    with TestClient(CODE.service(folder)) as client, ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda seed: client.post("/sample", json={"n": 3, "seed": seed}).json()["rows"], range(64))
        )
    with ExportedFlow(folder, threads=1) as flow:
        for seed, rows in enumerate(found):
            np.testing.assert_array_equal(rows, flow.sample(3, seed=seed).tolist())


def test_a_wrong_folder_stops_it_at_its_start(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNET_FOLDER", str(tmp_path / "nowhere"))
    with pytest.raises(ArtifactError):
        CODE.app()
