"""What answers with an outcome were worth, and which thresholds would have given more."""
