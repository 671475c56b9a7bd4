"""One run: its moment, its symbols, its bounds, and when a slot is worth beginning."""
