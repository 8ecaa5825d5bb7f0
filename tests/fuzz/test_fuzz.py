"""Two thousand inputs of all readers; more are in the recorded campaign. README.md says how to see one again."""

import json
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from lunet_export.artifact import Manifest, graph_file, sealed
from lunet_export.certificate import Certificate
from lunet_export.checks.vector_file import MixtureVectors, Vectors
from lunet_export.errors import LunetExportError
from lunet_export.layers.domain import Domain
from lunet_export.verification import vnnlib
from lunet_export.verification.claim import Claim
from tests.conftest import ROOT
from tests.fuzz import campaign
from tests.fuzz.outcome import complaint
from tests.fuzz.readers.table import READERS

RECORD = ROOT / "benchmarks/results/fuzz.json"

steady = settings(derandomize=True, max_examples=150, deadline=None)
_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_values = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))


def test_two_thousand_inputs_and_no_finding():
    counts = campaign.shares({name: reader.share for name, reader in READERS.items()}, 2000)
    tallies = campaign.run(counts, seed=1, workers=1)
    assert [outcome for tally in tallies.values() for outcome in tally.findings] == []
    assert sum(tally.inputs for tally in tallies.values()) >= 2000
    for name, tally in tallies.items():
        assert tally.refused, name  # a harness whose inputs are all good would find nothing


#: Inputs of seed 0 that were findings once.
FOUND = [("Arrow", 432), ("Arrow", 476), ("run of streams", 470), ("folder of rows", 35), ("folder of rows", 80)]


def test_what_was_found_is_mended(tmp_path):
    """In a process of their own, whose memory and time are bounded."""
    cases = [part for name, number in FOUND for part in ("--reader", name, "--case", str(number))]
    command = [sys.executable, "-m", "tests.fuzz", *cases, "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert (done.returncode, said.count("'finding': None")) == (0, len(FOUND)), said


def _sentence_or_value(read, *known):
    """Call it: what it raises is ours, or of the kinds that its docstring names."""
    sentence = None
    try:
        read()
    except LunetExportError as error:
        sentence = str(error)
    except known:
        pass
    assert sentence is None or complaint(sentence) is None


@steady
@given(_values)
def test_any_json_is_vectors_or_refused(value):
    for document in (value, {"density": value, "sampling": value}, {"density": value, "sampling": [value]}):
        _sentence_or_value(lambda document=document: Vectors.from_json(document, 2))
        _sentence_or_value(lambda document=document: MixtureVectors.from_json(document, 2, ("a", "b")))


@steady
@given(
    st.dictionaries(st.sampled_from(["model", "graphs", "sha256", "dtype", "products", "checks", "classes"]), _values)
)
def test_any_sealed_json_is_a_manifest_or_refused(parts):
    document = sealed({"format": "lunet_export", "format_version": 1, **parts})
    _sentence_or_value(lambda: Manifest.from_json(document))


@steady
@given(_values)
def test_any_json_is_a_domain_or_a_certificate_or_refused_as_they_say(value):
    _sentence_or_value(lambda: Domain.from_json(value, 2), KeyError, TypeError, ValueError)
    _sentence_or_value(
        lambda: Domain.from_json({"low": value, "high": value, "closed": True}, 2), TypeError, ValueError
    )
    _sentence_or_value(lambda: Certificate.from_json(value), ValueError)


@steady
@given(
    st.lists(
        st.sampled_from(
            ["(", ")", "assert", "<=", ">=", "or", "and", "X_0", "Y_0", "1.5", "declare-const", "Real", ";"]
        )
    ),
    st.text(),
)
def test_any_words_are_a_query_and_a_claim_or_refused(words, text):
    for given_text in (" ".join(words), text):
        _sentence_or_value(lambda given_text=given_text: vnnlib.parse(given_text))
        _sentence_or_value(lambda given_text=given_text: Claim.parse(given_text, 2))


@steady
@given(st.binary(max_size=60))
def test_any_bytes_are_a_graph_or_refused(data):
    _sentence_or_value(lambda: graph_file.validate_operators(data, "x.onnx"))


def test_the_recorded_campaign_was_long_and_asked_every_reader():
    record = json.loads(RECORD.read_bytes())
    assert record["readers"].keys() == READERS.keys()
    assert record["inputs"] >= 100_000
