"""Rows whose mean is an affine map of their context, and the conditional LU-Net that fits them best."""

import numpy as np

from lunet_export.data import Contexts, Dataset
from lunet_export.flows import lunet
from lunet_export.layers import LU, ConditionalAffine, Context, ScaleMap
from lunet_export.layers.networks import Dense

DIM, WIDTH = 2, 1
SLOPE = np.array([[1.5], [-0.5]])
ROOT = np.array([[0.5, 0.0], [0.2, 0.3]])


def linear(n, seed):
    """Normal rows whose mean is an affine map of the context."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(2, 4, (n, WIDTH))
    return 1 + c @ SLOPE.T + rng.standard_normal((n, DIM)) @ ROOT.T, c


def data_set(*splits, names=("age",)):
    (train_x, train_c), (valid_x, valid_c), (test_x, test_c) = splits
    return Dataset("given", train_x, valid_x, test_x, public=False, contexts=Contexts(names, train_c, valid_c, test_c))


DATA = data_set(linear(3000, 0), linear(10, 1), linear(2000, 2))


def fitted(dataset, *, dependent=True):
    """The linear Gaussian of the training rows, exactly, as one LU block and one map; or the Gaussian of x alone."""
    x, c = dataset.train, dataset.contexts.train
    seen = np.hstack([np.ones((len(x), 1)), c]) if dependent else np.ones((len(x), 1))
    map_of = np.linalg.lstsq(seen, x, rcond=None)[0]
    left = x - seen @ map_of
    upper = np.linalg.cholesky(np.linalg.inv(left.T @ left / len(x))).T
    slope = map_of[1:].T if dependent else np.zeros((DIM, WIDTH))
    shift = ConditionalAffine((Dense(-upper @ slope, np.zeros(DIM)),), ScaleMap("none"))
    context = Context(WIDTH, (), c.min(axis=0), c.max(axis=0), dataset.contexts.names)
    return lunet([LU(np.eye(DIM), upper, -upper @ map_of[0])], 0.1, conditional=[shift], context=context)
