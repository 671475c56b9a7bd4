"""The models of the registry as a person handles them: list, roll back, export, import, load."""
