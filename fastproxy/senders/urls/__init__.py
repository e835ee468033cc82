"""What a backend orders of other hosts."""
