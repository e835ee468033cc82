"""Access log lines, metrics, request ids."""
