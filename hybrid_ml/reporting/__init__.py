"""Reports for the Prefect UI and for files: Markdown, charts, texts."""
