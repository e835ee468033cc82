"""What a backend orders out of a repository."""
