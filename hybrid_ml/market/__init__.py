"""Bars, features, labels and the sources of bars."""
