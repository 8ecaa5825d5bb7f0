"""`lunet-export check`."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

import lunet_export
from lunet_cli import output
from lunet_cli.check_table import print_checks, print_seams
from lunet_cli.doctor import in_words
from lunet_cli.models import read_model, where, where_in_words
from lunet_cli.options import AuthorsOptions, Folder, Json, RunOptions
from lunet_cli.pipes import is_piped
from lunet_export import parity
from lunet_export.api.checking import FailedChecksError, checks_of, self_test
from lunet_export.api.models import Model, files_of
from lunet_export.artifact import MANIFEST, Manifest, read_manifest
from lunet_export.errors import ArtifactError, BadInputError, LunetExportError
from lunet_export.files import whole_file
from lunet_export.files.reading import digest_and_size
from lunet_export.runtime.cuda import CudaOptions

if TYPE_CHECKING:
    from lunet_export.bench import Opening
    from lunet_export.runtime import ExportedClasses, ExportedFlow


def check(
    folder: Folder,
    *,
    model: Annotated[
        Path | None, Option(help="Model file that the folder was exported from; adds fresh inputs and eager PyTorch.")
    ] = None,
    run: RunOptions,
    seed: Annotated[int, Option(help="Random seed of the fresh inputs.")] = 1,
    authors: AuthorsOptions,
    expect: Annotated[
        str | None,
        Option(
            help="Fail unless this is the SHA-256 of the weights or of the manifest, as --json and verify print it."
        ),
    ] = None,
    report: Annotated[
        Path | None, Option(help="Also write the results and the machine as JSON, for a bug report; - prints it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a folder against its float64 test vectors.

    The exit code is 1 if an answer is wrong.

    On CUDA the self-test of the GPU runs too: answers of the CPU, replays of CUDA graphs, rows that stay on the device,
    placement, TF32 and latency. Folders with one network per class are checked against the test vectors alone.

    Example: lunet-export check runs/digits --model digits.pt
    Example: lunet-export check runs/digits --provider cuda --report gpu.json
    """
    if is_piped(report) and as_json:
        raise BadInputError("Expected one document on stdout; got --report - and --json. Leave one out.")
    if not is_piped(report):
        output.validate_writable("--report", report)
    document: dict[str, Any] = {"folder": str(folder), "provider": run.provider.value, "passed": False}
    with _reported(document, report, run.cuda):
        described = read_manifest(folder)
        document |= _identity(described)
        if expect is not None:
            _validate_hash(folder, expect, document)
        source = None if model is None else Model(read_model(model, authors), files_of(model, authors.latent_stats))
        flow, checks = _checked(folder, run, source, document, seed=seed)
        document |= {"passed": parity.all_passed(checks), "checks": [parity.as_json(entry) for entry in checks]}
        if flow.vectors.seams is not None:
            document["seams"] = flow.vectors.seams.counts()
    if as_json:
        output.dump(document)
    elif not is_piped(report):
        _say(flow, checks, document, alone=model is None)
    if not document["passed"]:
        raise FailedChecksError(checks, on_gpu="gpu" in document)


def _checked(
    folder: Path, run: RunOptions, source: Model | None, document: dict[str, Any], *, seed: int
) -> "tuple[ExportedFlow | ExportedClasses, list[parity.Check]]":
    """Return the opened folder and its checks, with the self-test of the GPU, which mixtures do not have."""
    flow, opening = _opened(folder, run)
    document |= where(flow)
    checks = checks_of(flow, source, folder=folder, seed=seed, threads=run.threads)
    with output.stages() as stage:
        found = self_test(flow, threads=run.threads, on_stage=stage)
    if found is not None and opening is not None:
        checks, document["gpu"] = checks + found.checks, found.as_json() | {"opening": asdict(opening)}
    return flow, checks


def _opened(folder: Path, run: RunOptions) -> "tuple[Any, Opening | None]":
    """Return the flow of a folder and how long it took to open; no time for a mixture."""
    from lunet_export.bench import open_timed
    from lunet_export.runtime import ExportedClasses

    if read_manifest(folder).names:
        return ExportedClasses(folder, **run.settings), None
    return open_timed(folder, **run.settings)


def _say(
    flow: "ExportedFlow | ExportedClasses", checks: list[parity.Check], document: dict[str, Any], *, alone: bool
) -> None:
    products = flow.manifest.products
    print_checks(checks, "tf32" if flow.tf32 and products == "float32" else products)
    print_seams(flow.vectors.seams)
    if "gpu" in document:
        _say_gpu(document["gpu"])
    output.say(f"{sum(entry.passed for entry in checks)} of {len(checks)} checks passed, {where_in_words(flow)}")
    if flow.manifest.preprocessing and alone:
        output.say("The chain without its pre-processing was checked at export; --model checks it again.")


def _identity(manifest: Manifest) -> dict[str, Any]:
    """Return what identifies an export: name, hashes, versions."""
    document = manifest.document
    return {
        "name": manifest.name,
        "sha256_weights": document["model"].get("sha256_weights"),
        "sha256_manifest": document["sha256_manifest"],
        "versions": document.get("versions", {}),
    }


def _validate_hash(folder: Path, expect: str, identity: dict[str, Any]) -> None:
    if re.fullmatch("[0-9a-fA-F]{64}", expect) is None:
        raise BadInputError(
            f"Expected --expect SHA256 of 64 hexadecimal digits; got {expect}. Copy it from the output of verify."
        )
    weights, manifest = identity["sha256_weights"], identity["sha256_manifest"]
    printed, _ = digest_and_size(folder / MANIFEST)  # the hash that `verify` and `sign` print, of the bytes of the file
    if expect.lower() not in (weights, manifest, printed):
        raise ArtifactError(
            f"Expected an export with SHA-256 {expect} in {folder}; it holds {identity['name']} with {weights} for its "
            f"weights, {manifest} for its manifest and {printed} for {MANIFEST}. Give another folder."
        )


@contextlib.contextmanager
def _reported(document: dict[str, Any], path: Path | None, cuda: CudaOptions) -> Iterator[None]:
    """Write everything that a maintainer would ask for into one file, even if the check cannot finish."""
    try:
        yield
    except LunetExportError as error:
        _write_report(document | {"error": str(error)}, path, cuda)
        raise
    _write_report(document, path, cuda)


def _write_report(document: dict[str, Any], path: Path | None, cuda: CudaOptions) -> None:
    if path is None:
        return
    from lunet_export.runtime import doctor

    machine = in_words(doctor.examine(cuda)).as_json()
    whole = {"lunet_export": lunet_export.__version__, **document, "machine": machine}
    with contextlib.suppress(LunetExportError):  # the error says what is wrong with the folder
        manifest = read_manifest(Path(document["folder"])).document
        whole["manifest"] = {key: value for key, value in manifest.items() if key != "checks"}
    if is_piped(path):
        output.write(whole)
        return
    with whole_file(path) as temporary:
        temporary.write_text(output.json_text(whole), encoding="utf-8")


def _say_gpu(gpu: dict[str, Any]) -> None:
    for graph, nodes in gpu["placement"].items():
        output.say(f"{graph}: " + ", ".join(f"{count} nodes on {name}" for name, count in nodes.items()))
    opening = gpu["opening"]
    output.say(
        f"TF32 {gpu['tf32']}, products {gpu['products']}; sessions opened and run once in {opening['sessions']:.2f} s, "
        f"then one row sampled in {opening['first_run'] * 1e3:.2f} ms"
    )
    ways = list(gpu["latency"][0]["ways"])
    rows = [
        (f"{row['direction']}, batch {row['batch']}", *(f"{row['ways'][way]:.3f}" for way in ways))
        for row in gpu["latency"]
    ]
    output.table(("milliseconds per call, median", *ways), rows)
