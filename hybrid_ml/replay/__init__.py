"""The past through the live code: the same functions, with `now` moved."""
