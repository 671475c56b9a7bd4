"""Pages for the Prefect UI: what a person finds of each symbol after a run, as Markdown with its pictures."""
