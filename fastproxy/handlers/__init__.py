"""What we can do with a request: one capability a file."""
