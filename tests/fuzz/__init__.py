"""Whatever a client sends is refused, or means the same to the backend as it did to the client."""
