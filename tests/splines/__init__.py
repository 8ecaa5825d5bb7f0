"""Rational-quadratic splines: their laws at knots, their tolerances there, and the test rows that stand there."""
