"""The README's section for verifiers: its commands run."""

import json
import shlex

import pytest
from typer.testing import CliRunner

from lunet_cli.main import app
from lunet_export.verification import VerifierFolder
from tests.test_readme import fenced


@pytest.mark.slow
def test_the_commands_for_verifiers_run(tmp_path, monkeypatch):
    """With a witness by hand in the place of Marabou's."""
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in fenced("text") if "--for-verifier" in block)
    train, write, ask, replay = block.splitlines()
    for line in (f"{train} --epochs 2", write):
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output)
    program, graph, query, _, target = ask.split()
    assert (program, target) == ("Marabou", "witness.txt")
    assert (tmp_path / graph).is_file()
    opened = VerifierFolder.open(tmp_path / "moons-verifier")
    assert opened.choose(None) == query.rpartition("/")[2]
    (tmp_path / "witness.txt").write_text("sat\ninput 0 = 0.5\ninput 1 = -1.0\n")
    result = CliRunner().invoke(app, [*shlex.split(replay)[1:], "--json"])
    assert json.loads(result.stdout)["in_box"]
    assert result.exit_code in (0, 1)
