"""Drift: whether the model went wrong, and what to do about it."""
