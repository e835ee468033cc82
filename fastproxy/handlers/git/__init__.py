"""git's smart HTTP protocol, by git itself."""
