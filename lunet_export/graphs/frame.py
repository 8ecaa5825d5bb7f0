"""x -> z, log_prob and z -> x: the graphs of every chain of layers.

Each layer writes itself; what is said once, here, is the order, the logit in front, and the sum that is log p.
"""

from dataclasses import dataclass
from math import log, pi

import numpy as np
import onnx

from lunet_export.graphs import elementwise
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import Preprocessed, preprocessed
from lunet_export.graphs.solvers import Solver
from lunet_export.graphs.track import Terms, Track, added
from lunet_export.layers import Chain, networks


@dataclass(frozen=True)
class Frame:
    """A frame says how the graphs of a chain are written.

    Attributes:
        chain: Model to write.
        solver: Solver of its triangular systems; None where it has none.
        dtype: Dtype of all tensors.
        products: Shorter dtype of the matrix products alone.
    """

    chain: Chain
    solver: Solver | None
    dtype: str
    products: str | None = None

    def builder(self, name: str) -> GraphBuilder:
        """Return an empty graph."""
        return GraphBuilder(name, dim=self.chain.dim, dtype=self.dtype, products=self.products)

    def density(self, metadata: dict[str, str], *, with_probe: bool = False) -> onnx.ModelProto:
        """Return the density graph: x [batch, dim] -> z [batch, dim] and log_prob [batch] in nats, data space.

        That of a conditional flow takes `context` [contexts, C] too, as its sampling graph does.

        Args:
            metadata: Metadata of the file.
            with_probe: Whether the graph takes `probe` [batch, dim] too and gives `log_prob_estimate`, Hutchinson's
                estimate along it.
        """
        g = self.builder("density")
        rows = preprocessed(g, g.input("x"), self.chain.preprocessing)
        context = self._context(g)
        probe = g.input("probe") if with_probe else None
        z, log_prob = self.encoded(g, rows, probe=probe, context=context)
        g.output("log_prob_estimate" if with_probe else "log_prob", log_prob, rows=False)
        g.output("z", z)
        return g.finish(metadata)

    def encoded(
        self,
        g: GraphBuilder,
        rows: Preprocessed,
        *,
        probe: Value | None = None,
        context: Value | None = None,
        keep: bool = False,
    ) -> tuple[Value, Value]:
        """Write z [batch, dim] and log_prob [batch], or [batch, 1] where the axis is kept, of rows behind the logit."""
        constant = -0.5 * self.chain.dim * log(2 * pi) + rows.constant
        track = Track(g, rows.h, self.solver, constant=constant, probe=probe, context=context)
        self._forward(track, 0)
        z = track.rows()
        with g.scope("log_prob"):
            return z, _log_prob(g, z, track.terms, divisor=rows.inverse_slope, keep=keep)

    def sampling(
        self, metadata: dict[str, str], *, with_log_prob: bool = False, draws_noise: bool = False
    ) -> onnx.ModelProto:
        """Return the sampling graph: z [batch, dim] -> x [batch, dim], inside the domain of the density.

        Args:
            metadata: Metadata of the file.
            with_log_prob: Whether the graph also gives log_prob [batch] in nats, of x before it is clamped.
            draws_noise: Whether the graph takes `shape`, the two integers batch and dim, draws z itself and gives it
                too.
        """
        g = self.builder("sampling")
        z = g.random_normal("shape") if draws_noise else g.input("z")
        constant = -0.5 * self.chain.dim * log(2 * pi)
        context = self._context(g)
        track = Track(g, z, self.solver, constant=constant, wants_density=with_log_prob, context=context)
        latent = self._back(track, z)
        if self.chain.preprocessing:
            track.stretch(-1.0, 0.0)
        h = track.rows()
        h = g.node("Identity", z) if h == z else h
        if with_log_prob:
            g.output("log_prob", self._log_prob_of_sample(g, latent, h, track.terms), rows=False)
        g.output("x", self._in_domain(g, h))
        if draws_noise:
            g.output("z", z)
        return g.finish(metadata)

    def _context(self, g: GraphBuilder) -> Value | None:
        """Add the input `context` of a conditional flow, [batch, C] or [1, C]; write what layers see of it.

        Its first dimension has a name of its own: runtimes plan memory by the names, and one row may serve all.
        """
        of_chain = self.chain.context
        if of_chain is None:
            return None
        given = g.input("context", rows="contexts", width=of_chain.dim)
        with g.scope("context"):
            return networks.nodes(of_chain.network, networks.Writer(g), given)

    def _forward(self, track: Track, first: int) -> None:
        chain = self.chain
        for number, layer in enumerate(chain.layers[first:], first):
            with track.g.scope(chain.kind.label(chain, number)):
                layer.nodes(track)

    def _back(self, track: Track, z: Value) -> Value:
        """Write all layers from the last; return the latent rows at which log N(z; 0, I) is taken.

        Where layers sum their log-determinant only from data to latent, the rows pass them again in that direction.
        """
        chain, latent = self.chain, z
        first = next((number for number, layer in enumerate(chain.layers) if layer.forth_only), None)
        for number, layer in reversed(list(enumerate(chain.layers))):
            with track.g.scope(chain.kind.label(chain, number)):
                layer.inverse_nodes(track)
            if number == first and track.wants_density:
                latent = self._again(track, number)
        return latent

    def _again(self, track: Track, first: int) -> Value:
        rows, shift = track.apart()
        track.stretch(1.0, shift)
        with track.g.scope("density"):
            constant = -0.5 * self.chain.dim * log(2 * pi)
            forward = Track(track.g, rows, self.solver, constant=constant, context=track.context)
            forward.stretch(1.0, shift)
            self._forward(forward, first)
            track.terms = forward.terms
            return forward.rows()

    def _log_prob_of_sample(self, g: GraphBuilder, z: Value, h: Value, terms: Terms) -> Value:
        """Write log N(z; 0, I) + log|det dz/dx|, all at the points that sampling passed; h is -logit(x) for images."""
        p = self.chain.preprocessing
        with g.scope("log_prob"):
            if p:
                term, shift = elementwise.inverse_logit_log_slope(g, h, p)
                terms.logs.append((term, self.chain.dim, 1))
                terms.constant += shift
            return _log_prob(g, z, terms)

    def _in_domain(self, g: GraphBuilder, h: Value) -> Value:
        """Write x inside the domain, where it has borders; h is -logit(x) for images."""
        chain = self.chain
        if chain.preprocessing:
            with g.scope("inverse_logit"):
                return elementwise.inverse_logit(g, h, chain.preprocessing)
        if chain.domain is None:
            return h
        low, high = (end.astype(np.float64) for end in chain.domain.ends(g.dtype))
        limits = np.finfo(g.dtype)
        low, high = np.maximum(low, limits.min), np.minimum(high, limits.max)
        if (low == low[0]).all() and (high == high[0]).all():
            return g.node("Clip", h, float(low[0]), float(high[0]))
        return g.node("Min", g.node("Max", h, g.constant(low, "low")), g.constant(high, "high"))


def _log_prob(g: GraphBuilder, z: Value, terms: Terms, *, divisor: Value = "", keep: bool = False) -> Value:
    energy = g.sum_columns(g.node("Mul", z, z), keep=keep)
    log_prob = g.node("Add", g.node("Mul", energy, -0.5), terms.constant)
    return added(g, log_prob, terms, divisor=divisor, keep=keep)
