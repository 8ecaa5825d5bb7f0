"""Extreme numbers: every family, dtype, solver and direction is right, or says why not."""
