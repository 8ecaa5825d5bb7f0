"""Trained flows of five libraries, right at 100 contexts in Python and in every other language.

The vectors of each folder are those of its library in float64: log p of rows, and the rows of latents. Only z of rows,
which not every library gives, is the reference's. The tolerances come from the conditioning at each context.
"""

import json

import numpy as np
import pytest

from benchmarks import given
from lunet_export import ExportedFlow, importers, parity
from lunet_export.artifact import sealed
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.checks.vector_file import DensityVectors, SamplingVectors, Vectors
from lunet_export.export import Provenance, export
from lunet_export.files.reading import sha256
from tests.embedding.conftest import LANGUAGES, checks_of
from tests.embedding.test_replay_page import replayed  # noqa: F401  (a fixture)

pytest.importorskip("sbi", reason="sbi is not installed: run make setup-dev")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries about each other

CONTEXTS = 100
#: Trained for a short time: what is compared does not depend on how good a flow is.
PEERS = {
    "zuko": lambda: given.zuko_flow(steps=30),
    "nflows": lambda: given.nflows_maf(steps=30),
    "normflows": lambda: given.normflows_maf(steps=30),
    "sbi NPE": lambda: given.of_sbi("NPE", simulations=300, epochs=3),
    "sbi NLE": lambda: given.of_sbi("NLE", simulations=300, epochs=3),
    "zuko NSF": lambda: given.zuko_flow("NSF", steps=30),
    "zuko NSF without contexts": lambda: given.zuko_flow("NSF", conditional=False, steps=30),
    "sbi NPE nsf": lambda: given.of_sbi("NPE", "nsf", simulations=300, epochs=3),
}


@pytest.fixture(scope="module", params=PEERS)
def folder(request, tmp_path_factory):
    """The export of a flow, with the answers of its library as its vectors."""
    peer = given.seeded(PEERS[request.param])
    weights = importers.read(peer.flow).weights
    made = export(weights, tmp_path_factory.mktemp("given") / "flow", Provenance("given")).folder
    vectors = json.dumps(theirs(peer, weights).to_json()).encode()
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "vectors.json").write_bytes(vectors)
    manifest["sha256"]["vectors.json"], manifest["bytes"]["vectors.json"] = sha256(vectors), len(vectors)
    (made / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return made


def theirs(peer, weights):
    """What the library answers, at 100 contexts if it takes any, to numbers that are float32."""
    model = RoundingModel(weights, "float32")
    x, contexts = (part[:CONTEXTS].astype(np.float64) for part in (peer.rows, peer.contexts))
    c = contexts if weights.context else None
    z = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32).astype(np.float64)
    drawn = peer.in_float64(z, contexts, sampling=True)
    # How far a runtime may be off, and the library's own float64 beside the reference: both are 1e-10 apart at most.
    density = DensityVectors(
        x, reference.encode(weights, x, c)[0], peer.in_float64(x, contexts), model.density(x, c), None, c
    )  # fmt: skip
    sampling = SamplingVectors(
        z, drawn, peer.in_float64(drawn, contexts), np.zeros(CONTEXTS, bool), model.sampling(z, c), None, c
    )  # fmt: skip
    return Vectors(density, sampling)


def test_python_is_the_library_s_own_at_every_context(folder):
    flow = ExportedFlow(folder, provider="cpu", threads=1)
    contexts = flow.vectors.density.context
    assert contexts is None or contexts.shape[0] == len({tuple(c) for c in contexts}) == CONTEXTS
    checks = parity.run(flow, flow.vectors)
    assert [check.name for check in checks if not check.passed] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_so_is_every_other_language(folder, language, programs):
    done = programs[language](folder)
    assert (done.code, done.said) == (0, ""), done.out + done.err
    assert all(passed for _, passed in checks_of(done.out).values())


def test_so_is_the_browser(folder, replayed):  # noqa: F811
    report = replayed(folder)
    assert (report["code"], report["errors"]) == (0, []), report["output"]
    assert all(passed for _, passed in checks_of(report["output"]).values())
