"""Metrics of answers with outcomes, and the thresholds that would have been better."""
