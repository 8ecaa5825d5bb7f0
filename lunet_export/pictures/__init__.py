"""Samples of a model as pictures: of NumPy arrays alone, as PNG or as HTML for a notebook."""
