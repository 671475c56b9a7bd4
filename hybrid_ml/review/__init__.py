"""The review: metrics of the answers, and drift of features or accuracy."""
