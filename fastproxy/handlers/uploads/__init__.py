"""Take the body of a request into a store, and tell the backend what is there."""
