"""Replay: the live code on past bars, with an earlier `now`."""
