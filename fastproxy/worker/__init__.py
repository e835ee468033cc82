"""One worker's application, put together from its configuration."""
