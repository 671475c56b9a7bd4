"""What stands and what runs, for `hybrid-ml status`."""
