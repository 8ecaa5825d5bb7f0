"""Invertible maps of rows."""
