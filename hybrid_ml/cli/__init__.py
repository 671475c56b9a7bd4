"""The command line: `hybrid-ml COMMAND`."""
