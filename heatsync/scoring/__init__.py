"""What the numbers mean, as expressions: no files, no network."""
