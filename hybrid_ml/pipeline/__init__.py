"""One run: its moment, its symbols, its bounds, and how late it may begin for its slot."""
