"""The README's examples of importing run."""

import re
import shlex
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import lunet_export
from lunet_cli.main import app
from tests import tolerances
from tests.conftest import ROOT
from tests.importers.peers import package

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_run(tmp_path, monkeypatch):
    for name in ("nflows", "zuko", "normflows"):
        package(name)
    import normflows

    (module, mixture), (commands,) = blocks("py"), blocks("zsh")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_flows.py").write_text(module)
    torch.set_default_dtype(torch.float32)
    import my_flows

    flows = {"zuko": my_flows.of_zuko(), "nflows": my_flows.of_nflows()}
    layers = [normflows.flows.LULinearPermute(8, identity_init=False) for _ in range(3)]
    flows["normflows"] = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(8), layers)
    for name, flow in flows.items():
        torch.save(flow.state_dict(), f"{name}_state.pt")
    try:
        for line in commands.splitlines():
            result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
            assert result.exit_code == 0, (line, result.output)
    finally:
        sys.modules.pop("my_flows", None)
    exec(mixture, {})
    x = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    ours = lunet_export.ExportedFlow("exported/nflows", provider="cpu").log_prob(x)
    with torch.no_grad():
        pairs = {
            "nflows": (ours, flows["nflows"].log_prob(torch.from_numpy(x)).numpy()),
            "zuko": (
                lunet_export.convert(flows["zuko"]).log_prob(torch.from_numpy(x)).numpy(),
                flows["zuko"]().log_prob(torch.from_numpy(x)).numpy(),
            ),
        }
    for name, (got, theirs) in pairs.items():
        weights = lunet_export.importers.read(flows[name]).weights
        allowed = tolerances.TWO * tolerances.of_density(weights, x)["log_prob"]
        tolerances.assert_within(got, theirs, allowed, name)
        assert tolerances.beyond(got[::-1], theirs, allowed) > 1
    both = lunet_export.ExportedClasses("both", provider="cpu")
    assert (both.names, both.priors) == (("maf", "lu"), (0.3, 0.7))
