"""The review: what the answers were worth, and whether the market or the record is still what it was."""
