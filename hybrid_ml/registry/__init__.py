"""Models of the registry for a person: list, roll back, export, import, load."""
