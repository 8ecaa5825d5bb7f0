"""Faults while commands run: killed, stopped, out of room, on a jumping clock. `python -m tests.faults` tries them."""
