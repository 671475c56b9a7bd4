"""Replies to commands from the chat."""
