"""`hybrid-ml check`: problems of this installation, and its disk usage."""
