"""Symbols for a person: list them, remove or rename one, remove bars, show how complete bars are."""
