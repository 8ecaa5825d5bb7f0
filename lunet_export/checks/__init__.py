"""Checks of an export: the float64 reference, the rounding model, test vectors."""
