"""WebSockets that a backend permits: where they lead, and frames of our own between theirs."""
