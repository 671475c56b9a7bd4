"""What may go wrong, done on purpose: real processes, real signals, a real PostgreSQL."""
