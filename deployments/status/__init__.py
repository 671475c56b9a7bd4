"""The state of everything, for `hybrid-ml status`."""
