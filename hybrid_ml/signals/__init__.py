"""From probabilities to a signal: gates, presets, quiet hours, the penalty."""
