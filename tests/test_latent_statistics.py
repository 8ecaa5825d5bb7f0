"""The released code's statistics are of the last epoch's network: with another one every command refuses them."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow, checkpoint, noise
from lunet_export.checks import reference
from lunet_export.errors import CheckpointError, RowsWarning
from lunet_export.flows import lunet
from lunet_export.layers import LU
from lunet_export.preprocessing import NAMED
from tests.cli.conftest import run
from tests.networks import network
from tests.test_checkpoint import authors_state, saved

DIM = 16


def inverse_state(weights, dtype=torch.float64) -> OrderedDict:
    """The key layout of `best_inverse.pth`: the forward matrices, the last block first, L and its bias before U."""
    state = OrderedDict()
    for number, block in enumerate(reversed(weights.of(LU))):
        state[f"lu_layers.{2 * number}.bias"] = torch.from_numpy(block.bias.copy()).to(dtype)
        state[f"lu_layers.{2 * number}.weight"] = torch.from_numpy(block.lower.copy()).to(dtype)
        state[f"lu_layers.{2 * number + 1}.weight"] = torch.from_numpy(block.upper.copy()).to(dtype)
    return state


def statistics(weights, x) -> dict:
    z = reference.encode(weights, x)[0]
    return {"latent_mean": torch.from_numpy(z.mean(0)), "latent_covariance": torch.from_numpy(np.cov(z.T))}


def moved(weights, by: float):
    """The network some epochs later: all its numbers moved, the architecture kept."""
    rng = np.random.default_rng(7)

    def of(block: LU) -> LU:
        steps = by * rng.standard_normal((3, DIM, DIM))
        return LU(block.lower + np.tril(steps[0], -1), block.upper + np.triu(steps[1]), block.bias + steps[2, 0])

    return lunet([of(block) for block in weights.of(LU)], weights.kind.alpha, weights.preprocessing)


@dataclass
class Trained:
    """What the released code leaves of a training whose best epoch was not the last, and rows of its data."""

    folder: Path
    best: object
    last: object
    test: np.ndarray

    def __getitem__(self, name) -> Path:
        return self.folder / f"{name}.pth"


@pytest.fixture
def trained(tmp_path):
    folder = tmp_path / "target_3"
    folder.mkdir()
    data = network(DIM, 1, seed=9)
    x = reference.decode(data, noise.normal(0, range(4000), DIM))
    best = network(DIM, 4, seed=1)
    last = moved(best, 0.1)
    saved(authors_state(best), folder / "best.pth")
    saved(authors_state(last), folder / "last.pth")
    saved(inverse_state(last), folder / "best_inverse.pth")
    saved(statistics(last, x[:2000]), folder / "best_stats.pth")
    return Trained(folder, best, last, x[2000:])


def nats(weights, x) -> float:
    return -float(reference.log_prob(weights, x).mean())


def test_the_pair_that_is_refused_would_have_scored_far_worse_than_either_network(trained):
    """Folded by hand: a whole model, which any check of an export against it passes, and a wrong one."""
    stats = torch.load(trained["best_stats"], weights_only=True)
    folds = [
        weights.fold_latent(stats["latent_mean"].numpy(), stats["latent_covariance"].numpy())
        for weights in (trained.best, trained.last)
    ]
    wrong, right = (nats(folded, trained.test) for folded in folds)
    alone = [nats(weights, trained.test) for weights in (trained.best, trained.last)]
    assert right < min(alone) < max(alone) < wrong
    assert wrong - right > 100 * DIM  # nats
    with pytest.raises(CheckpointError, match="belongs to another network"):
        checkpoint.read(trained["best"], latent_stats=trained["best_stats"])


def test_what_is_refused_is_told_with_the_file_that_fits_and_the_other_way(trained):
    with pytest.raises(CheckpointError) as error:
        checkpoint.read(trained["best"], latent_stats=trained["best_stats"])
    assert str(error.value) == (
        f"Expected latent statistics of {trained['best']}; {trained['best_stats']} belongs to another network, that of "
        "best_inverse.pth beside it: the released code computes them with the last epoch's network, not the best "
        f"one's. Give {trained['last']} with them, or leave them out and fold in the latents of this model itself: "
        f"lunet-export recalibrate {trained['best']} DATA -o NEW.pt"
    )


def test_the_last_network_takes_them_without_a_word(trained):
    stats = torch.load(trained["best_stats"], weights_only=True)
    read = checkpoint.read(trained["last"], latent_stats=trained["best_stats"])
    folded = trained.last.fold_latent(stats["latent_mean"].numpy(), stats["latent_covariance"].numpy())
    assert (read.weights.digest(), read.assumed) == (folded.digest(), ())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_last_epoch_that_was_the_best_is_fine(trained, dtype):
    """Also where one of the two files was stored in float32 since."""
    saved(inverse_state(trained.best, dtype), trained["best_inverse"])
    assert checkpoint.read(trained["best"], latent_stats=trained["best_stats"]).assumed == ()


def test_a_change_that_float32_would_keep_is_another_network(trained):
    saved(inverse_state(moved(trained.best, 1e-5)), trained["best_inverse"])
    with pytest.raises(CheckpointError, match="belongs to another network"):
        checkpoint.read(trained["best"], latent_stats=trained["best_stats"])


def test_statistics_of_quite_another_model_are_refused(trained):
    other = network(DIM, 2, seed=5)
    saved(authors_state(other), trained["best"])
    with pytest.raises(CheckpointError, match=r"another network \(4 blocks of 16 numbers, not 2 blocks of 16"):
        checkpoint.read(trained["best"], latent_stats=trained["best_stats"])
    saved(authors_state(other), trained["last"])
    with pytest.raises(CheckpointError, match=r"Give the last\.pth of their own training with them, or leave them out"):
        checkpoint.read(trained["last"], latent_stats=trained["best_stats"])


def test_a_model_of_ours_is_compared_too(trained, tmp_path):
    for name, weights in (("best", trained.best), ("last", trained.last)):
        checkpoint.write_weights(tmp_path / f"{name}.pt", weights, image_shape=None, training={}, examples=None)
    assert checkpoint.read(tmp_path / "last.pt", latent_stats=trained["best_stats"]).assumed == ()
    with pytest.raises(CheckpointError, match="belongs to another network"):
        checkpoint.read(tmp_path / "best.pt", latent_stats=trained["best_stats"])


def test_names_that_were_changed_together_are_followed(trained):
    for kind in ("stats", "inverse"):
        trained[f"best_{kind}"].rename(trained[f"three_{kind}"])
    with pytest.raises(CheckpointError, match=r"that of three_inverse\.pth beside it"):
        checkpoint.read(trained["best"], latent_stats=trained["three_stats"])


def test_of_a_link_the_folder_that_it_leads_to_is_looked_into(trained, tmp_path):
    link = tmp_path / "stats.pth"
    link.symlink_to(trained["best_stats"])
    assert checkpoint.read(trained["last"], latent_stats=link).assumed == ()
    with pytest.raises(CheckpointError, match=r"stats\.pth belongs to another network"):
        checkpoint.read(trained["best"], latent_stats=link)


def test_without_the_inverse_last_pth_tells_as_much(trained):
    trained["best_inverse"].unlink()
    with pytest.raises(CheckpointError, match=r"that of last\.pth beside it.*Give .*last\.pth with them"):
        checkpoint.read(trained["best"], latent_stats=trained["best_stats"])
    assert checkpoint.read(trained["last"], latent_stats=trained["best_stats"]).assumed == ()


ASSUMED = (
    "Assumed that best_stats.pth holds the latents of best.pth: no readable best_inverse.pth beside it shows which "
    "network they belong to. The released code computes them with the last epoch's, last.pth."
)


@pytest.mark.parametrize("damage", ["missing", "text", "other keys", "cut short", "not floats", "a folder"])
def test_without_a_witness_the_assumption_is_told(trained, damage):
    trained["last"].unlink()
    path = trained["best_inverse"]
    state = inverse_state(trained.last)
    whole = path.read_bytes()
    path.unlink()
    if damage == "text":
        path.write_text("hello")
    elif damage == "other keys":
        saved({**state, "more": torch.zeros(1)}, path)
    elif damage == "cut short":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "not floats":
        saved({key: value.long() for key, value in state.items()}, path)
    elif damage == "a folder":
        path.mkdir()
    assert checkpoint.read(trained["best"], latent_stats=trained["best_stats"]).assumed == (ASSUMED,)


def commands(trained, tmp_path):
    """Every command that takes --latent-stats, with the model before the option."""
    np.save(tmp_path / "rows.npy", trained.test)
    data, best = tmp_path / "rows.npy", trained["best"]
    return {
        "export": [best, "-o", tmp_path / "out"],
        "verifier": [best, "-o", tmp_path / "out", "--for-verifier"],
        "diagnose": ["diagnose", best, data],
        "recalibrate": ["recalibrate", best, data, "-o", tmp_path / "new.pt"],
        "certify": ["certify", best],
        "plot": ["plot", "latents", best, data, "-o", tmp_path / "p.png"],
        "check": ["check", tmp_path / "plain", "--model", best],
        "bench": ["bench", tmp_path / "plain", "--model", best, "--no-compile"],
    }


@pytest.mark.parametrize(
    "command", ["export", "verifier", "diagnose", "recalibrate", "certify", "plot", "check", "bench"]
)
def test_every_command_refuses_the_pair(trained, tmp_path, command):
    assert run(trained["best"], "-o", tmp_path / "plain")[0] == 0
    arguments = commands(trained, tmp_path)[command]
    code, _, err = run(*arguments, "--latent-stats", trained["best_stats"])
    assert code == 2
    assert "belongs to another network, that of best_inverse.pth beside it" in " ".join(err.split())
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "new.pt").exists()


def test_export_tells_what_it_assumed_on_stderr_in_json_and_in_the_manifest(trained, tmp_path):
    for name in ("last", "best_inverse"):
        trained[name].unlink()
    stats = ["--latent-stats", trained["best_stats"]]
    code, out, err = run(trained["best"], "-o", tmp_path / "out", *stats, "--json")
    assert (code, json.loads(out)["warnings"]) == (0, [ASSUMED])
    assert err == f"lunet-export: warning: {ASSUMED}\n"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["provenance"]["assumed"] == [ASSUMED]
    code, out, _ = run("check", tmp_path / "out", "--model", trained["best"], *stats, "--json")
    assert (code, json.loads(out)["warnings"]) == (0, [ASSUMED])


def test_export_of_the_last_network_assumes_nothing(trained, tmp_path):
    stats = ["--latent-stats", trained["best_stats"]]
    code, out, err = run(trained["last"], "-o", tmp_path / "out", *stats, "--json")
    assert (code, "warnings" in json.loads(out), err) == (0, False, "")
    assert "assumed" not in json.loads((tmp_path / "out" / "manifest.json").read_text())["provenance"]
    assert run("check", tmp_path / "out", "--model", trained["last"], *stats)[0] == 0


def test_preprocessing_is_no_difference(trained):
    read = checkpoint.read(trained["last"], latent_stats=trained["best_stats"], preprocessing=NAMED["paper"])
    assert (read.weights.preprocessing, read.assumed) == (NAMED["paper"], ())


EXPLAINED = "Or the latent statistics that were folded into the model belong to another network: leave"


@pytest.fixture
def unproven(trained, tmp_path):
    """The pair that is refused, without the files that show it, its export, and rows of its data."""
    for name in ("last", "best_inverse"):
        trained[name].unlink()
    np.save(tmp_path / "rows.npy", trained.test)
    stats = ["--latent-stats", trained["best_stats"]]
    assert run(trained["best"], "-o", tmp_path / "out", *stats)[0] == 0
    return trained, tmp_path, stats


@pytest.mark.parametrize("command", ["score", "diagnose", "diagnose the file", "certify", "recalibrate"])
def test_where_no_file_shows_it_the_data_do(unproven, command):
    trained, folder, stats = unproven
    rows, file = folder / "rows.npy", trained["best"]
    arguments = {
        "score": ["score", folder / "out", rows],
        "diagnose": ["diagnose", folder / "out", rows],
        "diagnose the file": ["diagnose", file, rows, *stats],
        "certify": ["certify", file, rows, *stats],
        "recalibrate": ["recalibrate", file, rows, "-o", folder / "new.pt", *stats],
    }[command]
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    assert EXPLAINED in json.loads(out)["warnings"][-1]


def test_rows_in_python_show_it_too(unproven):
    trained, folder, _ = unproven
    flow = ExportedFlow(folder / "out", provider="cpu")
    with pytest.warns(RowsWarning, match=EXPLAINED):
        flow.log_prob(trained.test)


def test_of_statistics_that_fit_nothing_is_said(trained, tmp_path):
    """Nor of rows in other units where nothing was assumed."""
    np.save(tmp_path / "rows.npy", trained.test)
    stats = ["--latent-stats", trained["best_stats"]]
    assert run(trained["last"], "-o", tmp_path / "out", *stats)[0] == 0
    assert "warnings" not in json.loads(run("score", tmp_path / "out", tmp_path / "rows.npy", "--json")[1])
    np.save(tmp_path / "far.npy", 1000 * trained.test)
    (sentence,) = json.loads(run("score", tmp_path / "out", tmp_path / "far.npy", "--json")[1])["warnings"]
    assert "in other units" in sentence
    assert EXPLAINED not in sentence
