"""The configuration: its shape, how it is read, how it is judged."""
