"""Conditional flows of every kind of part that depends on a context, and rows with their contexts."""

import numpy as np

from lunet_export.classes import Classes
from lunet_export.flows import layered, lunet
from lunet_export.flows import realnvp as realnvp_of
from lunet_export.layers import (
    LU,
    AffineAutoregressive,
    ConditionalAffine,
    Context,
    DenseCoupling,
    DenseNet,
    Inverse,
    Permutation,
    RationalQuadratic,
    ScaleMap,
    Sigmoid,
    SplineAutoregressive,
)
from lunet_export.layers.networks import Activation, Dense, Gate, Residual, Scaling
from tests.networks import network as unconditional

DIM, WIDTH, HIDDEN, SEEN = 4, 3, 8, 5  # of rows, of contexts, of networks, of what layers see of a context
#: Classes whose names are numbers of others, or hold what a sentence or a table might stumble over.
CLASSES = Classes(("T-shirt/top", "b, c", "1"), (0.25, 0.25, 0.5))


def network(*, seed=0):
    """A masked layer forwards and inverted, a coupling, an affine map and an LU layer, behind an embedding."""
    rng = np.random.default_rng(seed)
    context = Context(
        WIDTH,
        (Scaling(np.array([1.0, 2.0, 0.5]), np.full(3, 0.1)), _dense(rng, SEEN, WIDTH), Activation("relu")),
        low=np.full(WIDTH, -3.0),
        high=np.full(WIDTH, 3.0),
    )
    order = Permutation(np.array([2, 0, 3, 1]))
    affine = ConditionalAffine((_dense(rng, 2 * DIM, SEEN),), ScaleMap("exp"))
    lower, upper = np.tril(0.5 * rng.standard_normal((DIM, DIM)), -1) + np.eye(DIM), np.diag([1.0, -0.5, 2.0, 1.0])
    lu = LU(lower, upper + np.triu(0.3 * rng.standard_normal((DIM, DIM)), 1), rng.standard_normal(DIM))
    return layered(DIM, [masked(rng), order, coupling(rng), affine, lu, Inverse(masked(rng))], None, context)


def lu_net(*, seed=0):
    """An LU-Net of three blocks, each followed by an affine map of the context."""
    rng = np.random.default_rng(seed)
    context = Context(WIDTH, (_dense(rng, SEEN, WIDTH), Activation("tanh")), np.full(WIDTH, -1.0), np.full(WIDTH, 2.0))
    weights = [0.3 * _weight(rng, 2 * DIM, SEEN) for _ in range(3)]
    moved = [ConditionalAffine((Dense(w, np.zeros(2 * DIM)),), ScaleMap("soft-exp", 3.0)) for w in weights]
    return lunet(unconditional(DIM, 3).of(LU), 0.2, conditional=moved, context=context)


def of_classes(*, seed=0, preprocessing=None):
    """An LU-Net whose context names one of WIDTH classes, as training of labels makes it."""
    rng = np.random.default_rng(seed)
    network = (Scaling(np.full(WIDTH, 2.0), np.full(WIDTH, -0.5)),)
    context = Context(WIDTH, network, np.zeros(WIDTH), np.ones(WIDTH), classes=CLASSES)
    weights = [0.3 * _weight(rng, 2 * DIM, WIDTH) for _ in range(3)]
    moved = [ConditionalAffine((Dense(w, np.zeros(2 * DIM)),), ScaleMap("soft-exp", 3.0)) for w in weights]
    return lunet(unconditional(DIM, 3).of(LU), 0.2, preprocessing, conditional=moved, context=context)


def realnvp(*, seed=0):
    """A RealNVP whose couplings change each column, by the context too, behind a shift by the context."""
    rng = np.random.default_rng(seed)
    standardise = Scaling(np.array([1.0, 2.0, 0.5]), np.full(WIDTH, 0.1))
    context = Context(WIDTH, (standardise,), np.full(WIDTH, -1.0), np.full(WIDTH, 2.0))
    front = ConditionalAffine((_dense(rng, DIM, WIDTH),), ScaleMap("none"))
    masks = (np.arange(DIM) < 3) == np.array([[True], [False]])
    first, last = (_dense_coupling(rng, mask) for mask in masks)
    return realnvp_of(DIM, [front, Permutation(np.array([0, 2, 1, 3])), first, last], None, context)


def splines(*, seed=0):
    """Masked splines, circular ones of a coupling in a box and back, and splines of the context alone."""
    rng = np.random.default_rng(seed)
    context = Context(WIDTH, (_dense(rng, SEEN, WIDTH), Activation("tanh")), np.full(WIDTH, -2.0), np.full(WIDTH, 2.0))
    tails = RationalQuadratic(4, -3.0, 3.0, "identity", 1e-3, 1e-3, 1e-3)
    circular = RationalQuadratic(3, 0.0, 1.0, "box", limit=4.0, turn=0.3)
    columns, nothing = np.arange(DIM), np.arange(0)
    alone = Dense(
        np.zeros((DIM * tails.count, 0)), np.zeros(DIM * tails.count), (_dense(rng, DIM * tails.count, SEEN),)
    )
    box = [Sigmoid(), _of_splines(coupling(rng), circular, rng), Inverse(Sigmoid())]
    layers = [_of_splines(masked(rng), tails, rng), *box, SplineAutoregressive(DIM, nothing, columns, (alone,), tails)]
    return layered(DIM, layers, None, context)


def _of_splines(layer, spline, rng):
    """The layer with splines in place of its scales and shifts."""
    *others, last = layer.network
    changed = len(layer.changed)
    weight = _weight(rng, changed * spline.count, last.weight.shape[1])
    shown = (last.weight[:changed] != 0).repeat(spline.count, axis=0)
    network = (*others, Dense(weight * shown, rng.standard_normal(len(weight))))
    return SplineAutoregressive(DIM, layer.inputs, layer.changed, network, spline)


def masked(rng):
    """A masked autoregressive layer whose context enters by a shift and by a gate, as in nflows."""
    degrees = np.arange(HIDDEN) % (DIM - 1)
    first = degrees[:, None] >= np.arange(DIM)
    last = np.arange(DIM)[:, None] > degrees
    gate = Gate((_dense(rng, HIDDEN, SEEN), Activation("sigmoid")))
    inside = Dense(np.diag(rng.standard_normal(HIDDEN)), rng.standard_normal(HIDDEN))
    entering = Dense(
        _weight(rng, HIDDEN, DIM) * first, np.zeros(HIDDEN), (_dense(rng, HIDDEN, SEEN), Activation("tanh"))
    )
    leaving = Dense(_weight(rng, 2 * DIM, HIDDEN) * np.vstack([last, last]), rng.standard_normal(2 * DIM))
    layers = (entering, Activation("tanh"), Residual((Activation("relu"), inside, gate)), leaving)
    columns = np.arange(DIM)
    return AffineAutoregressive(DIM, columns, columns, layers, ScaleMap("softplus", 0.0, 1e-3))


def coupling(rng):
    """A coupling whose network takes its columns and the context side by side, as in zuko."""
    entering = Dense(_weight(rng, HIDDEN, 2), rng.standard_normal(HIDDEN), (_dense(rng, HIDDEN, SEEN),))
    layers = (entering, Activation("relu"), _dense(rng, 4, HIDDEN))
    return AffineAutoregressive(DIM, np.array([0, 2]), np.array([1, 3]), layers, ScaleMap("soft-exp", 7.0))


def _dense_coupling(rng, mask):
    """A coupling with factors that are not 0 and a norm that is not 1 folded in, and context in its first layer."""
    kept, free = int(mask.sum()), int((~mask).sum())
    weights = [(HIDDEN, kept), (HIDDEN, HIDDEN), (2 * free, HIDDEN)]
    first, *others = ((_weight(rng, *shape), rng.standard_normal(shape[0])) for shape in weights)
    net = DenseNet(((first[0], np.zeros(HIDDEN)), *others), (_dense(rng, HIDDEN, WIDTH),))
    factors = [np.where(mask, 0.0, rng.standard_normal(DIM)) for _ in range(2)]
    vectors = (factors[0], 0.3 * rng.standard_normal(DIM), factors[1], rng.standard_normal(DIM))
    return DenseCoupling((DIM,), mask, *vectors, net=net)


def rows(count, *, seed=1):
    """Rows (N, D) and their contexts (N, C)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, DIM)), rng.standard_normal((count, WIDTH))


def _dense(rng, leaving, entering):
    return Dense(_weight(rng, leaving, entering), rng.standard_normal(leaving))


def _weight(rng, leaving, entering):
    return 0.5 * rng.standard_normal((leaving, entering))


#: One flow of each kind.
FLOWS = {"layers": network(), "LU-Net": lu_net(), "RealNVP": realnvp(), "splines": splines()}
