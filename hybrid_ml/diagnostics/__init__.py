"""`hybrid-ml check`: what would keep this installation from working, and what takes room."""
