"""The near side: client sockets."""
