"""WebSockets for which the backend is asked first."""
