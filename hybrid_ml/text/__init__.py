"""Formatting of numbers for people."""
