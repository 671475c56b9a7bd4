"""Exchanges as sources of bars: what they answer, how fast they may be asked, and loading their history."""
