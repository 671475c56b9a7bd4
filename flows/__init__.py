"""Recipes: read one and you know what happens."""
