"""Alerts: their text and chart, the outbox, sending through Telegram."""
