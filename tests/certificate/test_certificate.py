"""The certificate as the manifest holds it."""

import json

import numpy as np
import pytest

from lunet_export.certificate import Certificate, certify
from lunet_export.flows import lunet
from lunet_export.layers import LU
from lunet_export.preprocessing import NAMED
from tests.networks import NETWORKS, network, rows


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_it_comes_back_as_it_was_written(make):
    weights = make()
    written = certify(weights, rows(weights, 3), dtype="float32")
    document = json.loads(json.dumps(written.to_json(), allow_nan=False))
    read = Certificate.from_json(document)
    assert (read.network, read.data, read.unit_roundoff) == (written.network, written.data, 2.0**-24)
    assert read.to_json() == document
    if weights.preprocessing is None:
        assert read.network == read.data
        np.testing.assert_array_equal(read.rows.stretch, read.rows.network_stretch)


def test_what_is_infinite_is_null():
    weights = lunet((LU(np.eye(2), np.diag([1.0, 1e-200]), np.zeros(2)),) * 2, 0.5)
    document = certify(weights, np.ones((3, 2)), dtype="float32").to_json()
    json.dumps(document, allow_nan=False)
    assert (document["network"]["lip_inverse"], document["rows"]["round_trip"]) == (None, [None] * 3)
    read = Certificate.from_json(document)
    assert read.network.lip_inverse == np.inf
    assert (read.rows.round_trip == np.inf).all()


def test_rows_do_not_depend_on_how_many_there_are():
    weights = network(8, 3, preprocessing=NAMED["digits"])
    x = rows(weights, 150)
    whole = certify(weights, x, dtype="float32").rows
    part = certify(weights, x[100:102], dtype="float32").rows
    np.testing.assert_allclose(whole.round_trip[100:102], part.round_trip, rtol=1e-4)
    np.testing.assert_allclose(whole.squeeze[100:102], part.squeeze, rtol=1e-4)
    assert len(whole.stretch) == 150
