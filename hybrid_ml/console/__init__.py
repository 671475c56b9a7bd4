"""Tables and progress bars for a terminal."""
