"""The flows: each calls the tasks of one job in order."""
