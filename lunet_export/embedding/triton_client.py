"""Score rows, draw samples and replay the test vectors of an export on a Triton server, over gRPC.

    python -m lunet_export.embedding.triton_client digits --replay exported/digits
    python -m lunet_export.embedding.triton_client digits --sample 100 --seed 7 -o samples.npy
    python -m lunet_export.embedding.triton_client digits --score rows.npy
    python -m lunet_export.embedding.triton_client protein --sample 100 --context 300,7.4

The program needs tritonclient[grpc] beside lunet-export, and can be the start of your own client. Its exit code is 1 if
a replayed answer is outside its tolerance, and 2 if the server refuses.
"""
# ruff: noqa: T201

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise, parity
from lunet_export.artifact import open_folder
from lunet_export.data.given_context import given_context
from lunet_export.embedding.triton import CLIENT_PACKAGE
from lunet_export.errors import LunetExportError
from lunet_export.installation import install
from lunet_export.layers import Context
from lunet_export.runtime.rows import Rows as Fed

try:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException, triton_to_np_dtype
except ImportError:
    sys.exit(f"Expected {CLIENT_PACKAGE}; it is not installed. Run: {install(CLIENT_PACKAGE)}")

Rows = NDArray[np.floating]


class ServedModel:
    """A model of the server. A call maps rows (N, D), of a conditional flow with their context, to the outputs by name.

    The context is (N, C), one per row, or (C,) or (1, C), one for all rows. Triton wants one per row, since it joins
    requests: one for all is repeated.
    """

    def __init__(self, client: triton.InferenceServerClient, name: str, version: str) -> None:
        self.client, self.name, self.version = client, name, version
        inputs = {tensor.name: tensor for tensor in client.get_model_metadata(name, version).inputs}
        self.context = Context(inputs["context"].shape[-1]) if "context" in inputs else None
        (self.input,) = (tensor for tensor in inputs.values() if tensor.name != "context")
        self.dtype = np.dtype(triton_to_np_dtype(self.input.datatype))
        self.dim: int = self.input.shape[-1]
        self.largest: int = client.get_model_config(name, version).config.max_batch_size

    def __call__(self, rows: Rows, context: Rows | None = None) -> dict[str, Rows]:
        contexts = Fed(self.dim, self.dtype, None, context=self.context).contexts(context, len(rows))
        fed = {self.input.name: rows}
        if contexts is not None:
            fed["context"] = np.broadcast_to(contexts, (len(rows), contexts.shape[1]))
        shares = [slice(start, start + self.largest) for start in range(0, len(rows), self.largest)]
        parts = [self._request({tensor: given[share] for tensor, given in fed.items()}) for share in shares]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _request(self, fed: dict[str, Rows]) -> dict[str, Rows]:
        tensors = [triton.InferInput(name, rows.shape, self.input.datatype) for name, rows in fed.items()]
        for tensor, rows in zip(tensors, fed.values(), strict=True):
            tensor.set_data_from_numpy(rows.astype(self.dtype))
        result = self.client.infer(self.name, tensors, self.version)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


class ServedFlow:
    """A flow on the server, in both directions. Of a conditional one, methods take `context` as `ServedModel` does.

    Attributes:
        context: Context of a conditional flow, None for others. The server does not tell its names and its range.
    """

    def __init__(self, client: triton.InferenceServerClient, name: str, version: str = "") -> None:
        self._density = ServedModel(client, f"{name}-density", version)
        self._sampling = ServedModel(client, f"{name}-sampling", version)
        self.context = self._density.context

    def density(self, x: Rows, *, context: Rows | None = None) -> tuple[Rows, Rows]:
        """Return z (N, D) and log_prob (N,), in nats, of rows x (N, D).

        Raises:
            BadInputError: if a context is missing, not taken, of another shape or not finite.
        """
        outputs = self._density(x, context)
        return outputs["z"], outputs["log_prob"][:, 0]  # Triton returns [N] as [N, 1]

    def decode(self, z: Rows, *, context: Rows | None = None) -> Rows:
        """Return the rows x (N, D) of latents z (N, D). Raises as `density` does."""
        return self._sampling(z, context)["x"]

    def sample(self, n: int, seed: int, *, context: Rows | None = None) -> Rows:
        """Return the first n rows (n, D) of a seed, the same in every language. Raises as `density` does."""
        return self.decode(noise.normal(seed, range(n), self._sampling.dim), context=context)


def contexts(flow: ServedFlow, given: str | None, rows: int) -> Rows | None:
    """Return the context of so many rows from what a user gave: numbers separated by commas, or a file of rows.

    Raises:
        BadInputError: if there is none for a conditional flow, one for another, or another number of them.
        DataError: if the file cannot be read, or its rows have another width.
    """
    found = given_context(flow.context, given)
    if found is None:
        return None
    found.validate_rows(rows)
    return found.read(0, rows)


def replay(flow: ServedFlow, folder: Path) -> bool:
    """Compare the answers of the server with the float64 reference in vectors.json; return whether all are right."""
    checks = parity.run(flow, open_folder(folder).vectors)
    for check in checks:
        gap, verdict = check.difference, "ok" if check.passed else "FAILED"
        print(f"{check.name}: row {gap.row} is off by {gap.worst:.1e}, {gap.ratio:.2g} of its tolerance, {verdict}")
    return parity.all_passed(checks)


def main() -> int:
    """Run the program and return the exit code."""
    parser = argparse.ArgumentParser(
        "triton_client", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="name of the models, before -density and -sampling")
    parser.add_argument("--url", default="localhost:8001", help="gRPC address of the server")
    parser.add_argument("--version", default="", help="version of the models; default: the highest that is served")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="exported folder whose test vectors to replay")
    parser.add_argument("--score", type=Path, metavar="ROWS.npy", help="print log_prob of rows (N, D) in nats")
    parser.add_argument("--sample", type=int, metavar="N", help="draw N samples")
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of the samples, as in `lunet-export sample --seed`"
    )
    parser.add_argument(
        "--context",
        metavar="C",
        help="context of a conditional flow: numbers separated by commas, one for all rows of --score and --sample; or "
        "a file of rows, one for all or as many as they have",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("samples.npy"), help="file of the samples")
    options = parser.parse_args()
    if options.context is not None and not (options.score or options.sample):
        parser.error("Expected --context with --score or --sample; the test vectors have their own. Leave it out.")
    with triton.InferenceServerClient(options.url) as client:
        try:
            flow = ServedFlow(client, options.name, options.version)
            if options.score:
                rows = np.load(options.score)
                print(*flow.density(rows, context=contexts(flow, options.context, len(rows)))[1], sep="\n")
            if options.sample:
                context = contexts(flow, options.context, options.sample)
                np.save(options.output, flow.sample(options.sample, options.seed, context=context))
                print(f"wrote {options.output}: {options.sample} samples of seed {options.seed}")
            return 0 if options.replay is None or replay(flow, options.replay) else 1
        except InferenceServerException as error:
            print(f"The server at {options.url} refuses: {error.message()}", file=sys.stderr)
            return 2
        except LunetExportError as error:
            print(error, file=sys.stderr)
            return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
