"""Bars, features, labels and where bars come from."""
