"""What we can do with a request: one capability a room. The files are what rooms share."""
