"""Answers to commands from the chat."""
