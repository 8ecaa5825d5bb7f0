"""`diagnose`: a model beside closed forms, the entropy and the standard normal, and what is wrong with it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lunet_export.data import Dataset, Part
from lunet_export.diagnostics import entropy, rows
from lunet_export.diagnostics.activations import COLLAPSED, Activation, Tally
from lunet_export.diagnostics.detection import Detection, detect
from lunet_export.diagnostics.latents import Latents
from lunet_export.diagnostics.moments import Moments
from lunet_export.diagnostics.ppca import Spectrum
from lunet_export.diagnostics.regression import Dependence, Regression
from lunet_export.diagnostics.source import Source, unseen
from lunet_export.errors import DataError
from lunet_export.likelihood import bits_per_dim, paper_convention
from lunet_export.preprocessing import logit

Array = NDArray[np.float64]
FlagName = Literal["WORSE_THAN_GAUSSIAN", "BELOW_ENTROPY", "LINEAR_COLLAPSE", "LATENT_NOT_NORMAL"]

#: All flags that `diagnose` can raise, and when.
FLAGS: dict[FlagName, str] = {
    "WORSE_THAN_GAUSSIAN": "On the training rows the model is worse than the Gaussian, which is one LU layer; given "
    "contexts, than the linear Gaussian.",
    "BELOW_ENTROPY": "The test figure is below the entropy by more than 3 standard errors, as no density can be.",
    "LINEAR_COLLAPSE": "Less than 1 % of what enters every activation leaves its unit's branch: an affine map.",
    "LATENT_NOT_NORMAL": "Training latents: G, or what the context tells of them, above 0.01 nats/dim and chance, "
    "skewness above 0.5, or kurtosis above 1.",
}
_ROUNDING = 1e-5  # nats/dim that float32 may lose where the model is the Gaussian
_GAP, _SKEWNESS, _KURTOSIS = 0.01, 0.5, 1.0


@dataclass(frozen=True)
class Figure:
    """This figure is a mean negative log-likelihood in data space, pre-processing and 2 pi included.

    bits_per_dim is on the true scale.
    """

    nats: float
    nats_per_dim: float
    bits_per_dim: float

    @classmethod
    def of(cls, nats: float, dim: int) -> "Figure":
        """Return the figure for `nats` per row."""
        return cls(nats, nats / dim, float(bits_per_dim(np.array(-nats), dim)))


@dataclass(frozen=True)
class Split:
    """This is a figure on the training rows and on the test rows."""

    train: Figure
    test: Figure


@dataclass(frozen=True)
class PaperConvention:
    """The bits/dim that the released code would print, as `lunet_export.likelihood.paper_convention` defines it."""

    train: float
    test: float


@dataclass(frozen=True)
class EntropyReference:
    """This is h(X) of the test rows' distribution, and KL = test figure - h with its standard error, all in nats.

    below_by is the number of standard errors by which the test figure lies below h; it is negative above.
    """

    nats: float
    method: str
    rows: int
    bias: str | None
    kl_nats: float
    standard_error: float
    below_by: float


@dataclass(frozen=True)
class LogDet:
    """This is the mean log|det dz/dx| of the test rows in nats, beside h(Z) - h(X), which it must equal for any flow.

    Attributes:
        mean: Mean log|det dz/dx|.
        at_optimum: h(N(0, I)) - h(X), its value if Z is standard normal. None if the entropy is not available.
        latent_entropy: h(Z) by nearest neighbours. None if it is not available.
        identity: h(Z) - h(X), by nearest neighbours on both sides; of rows with contexts h(Z, C) - h(X, C). None if an
            entropy is not available.
    """

    mean: float
    at_optimum: float | None
    latent_entropy: float | None
    identity: float | None


@dataclass(frozen=True)
class Flag:
    """A flag says that something is wrong, and its sentence says how."""

    name: FlagName
    sentence: str


@dataclass(frozen=True)
class Report:
    """This is what `diagnose` found. Curves (D + 1,) are NLLs of q = 0 .. D principal directions in nats per row.

    Of rows with contexts, the Gaussian and all q are those of what the affine map of the context leaves that fits the
    training rows best: q = D is the linear Gaussian.
    """

    dataset: str
    dim: int
    rows_train: int
    rows_test: int
    seed: int
    model: Split
    gaussian: Split
    gain: Figure  # Gaussian - model on the training rows
    ppca_train: Array
    ppca_test: Array
    best_q: int  # lowest point of the test curve
    condition: float  # largest over smallest eigenvalue of the training covariance, behind the pre-processing
    raised_eigenvalues: int
    cost_without_bias: float  # nats
    entropy: EntropyReference | None
    log_det: LogDet
    latents_train: Latents
    latents_test: Latents
    activations: tuple[Activation, ...] | None  # None if they cannot be seen
    detection: Detection | None  # None without other data
    not_available: dict[str, str]  # reasons by what is missing
    flags: tuple[Flag, ...]
    paper_convention: PaperConvention
    dependence: Dependence | None = None  # of the training latents on their contexts; None without contexts

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        document = asdict(self)
        if self.dependence is None:
            document.pop("dependence")
        return document | {"ppca_train": self.ppca_train.tolist(), "ppca_test": self.ppca_test.tolist()}

    def shown_q(self) -> list[int]:
        """Return 0, the powers of two, the best q on the test rows, and D."""
        powers = {2**n for n in range(self.dim.bit_length()) if 2**n < self.dim}
        return sorted({0, self.best_q, self.dim} | powers)


@dataclass(frozen=True)
class _Pass:
    """This is what one pass over a split found."""

    moments: Moments  # of the rows behind the pre-processing and their contexts, side by side
    shift: float  # mean log-det of the pre-processing: NLL in data space = NLL behind it - shift
    x: Array | None  # (N, D), if D is small enough for nearest neighbours
    contexts: Array | None  # (N, C)
    z: Array  # (N, D)
    log_det: float  # mean
    log_prob: Array  # (N,)
    tally: Tally | None


@dataclass(frozen=True)
class _Batch:
    """This is the same for one batch, with sums in place of means; h holds pre-processed rows with their contexts."""

    h: Array
    shift: float
    x: Array | None
    z: Array
    log_det: float
    log_prob: Array
    tally: Tally | None


def diagnose(
    source: Source,
    dataset: Dataset,
    *,
    seed: int,
    against: Dataset | None = None,
    on_rows: Callable[[int], None] = lambda n: None,
) -> Report:
    """Compare a model with what is known without it. Bounds come from training rows, figures from test rows.

    Args:
        source: The model.
        dataset: Its data; integers are dequantized once with the noise of `seed`.
        seed: Random seed of that noise.
        against: Other data, to tell from these by log p.
        on_rows: Function called with the number of rows after each batch.

    Raises:
        DataError: if the rows are of another kind than the model's.
    """
    rows.validate_rows(dataset, source.preprocessing, source.dim, source.context)
    dim = source.dim
    train = _see(source, dataset, dataset.part("train"), seed=seed, draw=rows.TRAIN, on_rows=on_rows)
    test = _see(source, dataset, dataset.part("test"), seed=seed, draw=rows.TEST, on_rows=on_rows)
    moments = _without_context(train, test, dim)
    spectrum = Spectrum.of(moments[0])
    curves = [spectrum.curve(seen) - part.shift for seen, part in zip(moments, (train, test), strict=True)]
    model = Split(*(Figure.of(-float(part.log_prob.mean()), dim) for part in (train, test)))
    gaussian = Split(*(Figure.of(float(curve[-1]), dim) for curve in curves))
    known = None if test.x is None or _varying(test).size else entropy.of_data(dataset, test.x)
    least = _entropy_reference(known, test.log_prob)
    latents = [Latents.of(part.z) for part in (train, test)]
    dependence = None if train.contexts is None else Dependence.of(train.z, train.contexts)
    activations = train.tally.result() if train.tally else None
    told = None
    if against is not None:
        inside = test.log_prob
        told = detect(
            lambda x, c: source.density(x, context=c)[2],
            inside,
            dataset,
            against,
            source.preprocessing,
            seed=seed,
            on_rows=on_rows,
            context=source.context,
        )
    return Report(
        dataset=dataset.name,
        dim=dim,
        rows_train=len(train.z),
        rows_test=len(test.z),
        seed=seed,
        model=model,
        gaussian=gaussian,
        gain=Figure.of(gaussian.train.nats - model.train.nats, dim),
        ppca_train=curves[0],
        ppca_test=curves[1],
        best_q=int(np.argmin(curves[1])),
        condition=spectrum.condition,
        raised_eigenvalues=spectrum.raised,
        cost_without_bias=spectrum.cost_without_bias(),
        entropy=least,
        log_det=_log_det(test, known),
        latents_train=latents[0],
        latents_test=latents[1],
        activations=activations,
        detection=told,
        not_available=_not_available(test, known, source.hidden),
        flags=tuple(
            _flags(model, gaussian, spectrum, least, activations, latents[0], dependence, dim, folds=source.folds)
        ),
        paper_convention=PaperConvention(*(_in_paper_convention(part, dim) for part in (train, test))),
        dependence=dependence,
    )


def _see(
    source: Source,
    dataset: Dataset,
    split: Part,
    *,
    seed: int,
    draw: int,
    on_rows: Callable[[int], None],
) -> _Pass:
    n, dim, p = len(split), source.dim, source.preprocessing

    def work(x: Array, c: Array | None) -> _Batch:
        h, before = logit(x, p) if p else (x, np.zeros(len(x)))
        h = h if c is None else np.hstack([h, c])
        tally = None if source.activations is None else Tally(source.activations)
        z, log_det, log_prob = source.density(x, tally or unseen, context=c)
        kept = x if dim <= entropy.LARGEST_DIM else None
        return _Batch(h, float(before.sum()), kept, z, float(log_det.sum()), log_prob, tally)

    z, log_prob = np.empty((n, dim)), np.empty(n)
    moments = Moments(dim + (source.context.dim if source.context else 0))
    tally = None if source.activations is None else Tally(source.activations)
    shift, log_det, start, kept = 0.0, 0.0, 0, []
    for part in rows.over_batches(work, dataset, split, seed=seed, draw=draw, on_rows=on_rows):
        end = start + len(part.h)
        z[start:end], log_prob[start:end], start = part.z, part.log_prob, end
        moments.add(part.h)
        shift, log_det = shift + part.shift, log_det + part.log_det
        if part.x is not None:
            kept.append(part.x)
        if tally and part.tally:
            tally.merge(part.tally)
    if not (np.isfinite(z).all() and np.isfinite(log_prob).all()):
        raise DataError(f"Expected finite densities of {dataset.name}; some are not. Remove its extreme rows.")
    x = np.concatenate(kept) if kept else None
    return _Pass(moments, shift / n, x, split.contexts, z, log_det / n, log_prob, tally)


def _without_context(train: _Pass, test: _Pass, dim: int) -> list[Moments]:
    """Return the moments of the rows of both splits, less the affine map of the context that fits the training rows."""
    if train.contexts is None:
        return [train.moments, test.moments]
    regression = Regression.of(train.moments, dim)
    return [regression.left(part.moments) for part in (train, test)]


def _varying(part: _Pass) -> Array:
    """Return the columns of the contexts that vary, (N, K)."""
    if part.contexts is None:
        return np.empty((len(part.z), 0))
    return part.contexts[:, (part.contexts != part.contexts[:1]).any(axis=0)]


def _in_paper_convention(part: _Pass, dim: int) -> float:
    """Return the figure of the means, in which it is linear."""
    return float(paper_convention(np.array(part.log_prob.mean()), np.array(part.shift), dim))


def _entropy_reference(known: entropy.Entropy | None, log_prob: Array) -> EntropyReference | None:
    """Compare row by row, so that what both figures share leaves the standard error."""
    if known is None:
        return None
    differences = -log_prob[: known.rows] - known.terms
    kl, error = float(differences.mean()), float(differences.std() / np.sqrt(len(differences)))
    return EntropyReference(known.nats, known.method, known.rows, known.bias, kl, error, -kl / max(error, 1e-300))


def _log_det(test: _Pass, known: entropy.Entropy | None) -> LogDet:
    if test.x is None:
        return LogDet(test.log_det, None, None, None)
    dim, contexts = test.z.shape[1], _varying(test)
    at_optimum = None if known is None else float(0.5 * dim * np.log(2 * np.pi * np.e)) - known.nats
    # (x, c) -> (z, c) has the log-determinant of x -> z.
    of_x, of_z = (entropy.nearest_neighbours(np.hstack([part, contexts])) for part in (test.x, test.z))
    if of_x is None or of_z is None:
        return LogDet(test.log_det, at_optimum, None, None)
    return LogDet(test.log_det, at_optimum, None if contexts.size else of_z.nats, of_z.nats - of_x.nats)


def _not_available(test: _Pass, known: entropy.Entropy | None, hidden: str) -> dict[str, str]:
    missing = {}
    if known is None:
        why = entropy.why_unknown(test.z if test.x is None else test.x)
        missing["entropy"] = why or entropy.GIVEN_CONTEXTS
    if hidden:
        missing["activations"] = hidden
    return missing


def _flags(
    model: Split,
    gaussian: Split,
    spectrum: Spectrum,
    least: EntropyReference | None,
    activations: tuple[Activation, ...] | None,
    latents: Latents,
    dependence: Dependence | None,
    dim: int,
    *,
    folds: bool,
) -> list[Flag]:
    flags = []
    baseline, layers = ("Gaussian", "one LU layer")
    if dependence is not None:
        baseline, layers = ("linear Gaussian", "one LU layer with a shift by the context")
    behind = model.train.nats_per_dim - gaussian.train.nats_per_dim
    if behind > _ROUNDING and not spectrum.raised:
        flags.append(
            Flag(
                "WORSE_THAN_GAUSSIAN",
                f"The model is {behind:.4g} nats/dim worse than the closed-form {baseline} on the training rows: "
                f"it has learnt less than {layers} can.",
            )
        )
    if least is not None and least.below_by > 3:
        flags.append(
            Flag(
                "BELOW_ENTROPY",
                f"The test figure is {-least.kl_nats:.4g} nats below the entropy ({least.method}), "
                f"{least.below_by:.3g} standard errors: the density is not normalised.",
            )
        )
    if activations and all(entry.active < COLLAPSED for entry in activations):
        most = max(entry.active for entry in activations)
        flags.append(
            Flag(
                "LINEAR_COLLAPSE",
                f"At most {most:.2%} of what enters an activation leaves its unit's branch: the flow is an affine map.",
            )
        )
    reasons = _not_normal(latents, dim, folds=folds)
    if dependence is not None and dependence.nats > max(_GAP * dim, dependence.by_chance):
        reasons.append(f"a dependence on the context of {dependence.nats / dim:.4g} nats/dim by an affine map alone")
    if reasons:
        flags.append(Flag("LATENT_NOT_NORMAL", f"The latents of the training rows have {', '.join(reasons)}."))
    return flags


def _not_normal(latents: Latents, dim: int, *, folds: bool) -> list[str]:
    """Return reasons against normality beyond chance: N normal rows have skewness sqrt(6 / N), kurtosis sqrt(24 / N).

    Three such deviations pass; kurtosis is the excess over 3.
    """
    chance, reasons = 3 / np.sqrt(latents.rows), []
    if not np.isfinite(latents.gap_nats):
        reasons += ["no variance in some direction"] if latents.rows > dim else []  # with too few rows it means nothing
    elif latents.gap_nats / dim > _GAP and latents.gap_nats > latents.gap_by_chance:
        removed = ", which recalibrate would remove" if folds else ""
        reasons.append(f"a Gaussian gap of {latents.gap_nats / dim:.4g} nats/dim{removed}")
    if latents.skewness > max(_SKEWNESS, chance * np.sqrt(6)):
        reasons.append(f"skewness {latents.skewness:.3g}")
    if latents.excess_kurtosis > max(_KURTOSIS, chance * np.sqrt(24)):
        reasons.append(f"excess kurtosis {latents.excess_kurtosis:.3g}")
    return reasons
