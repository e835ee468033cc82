"""Forward a request to a backend, at once or held until all of it is here."""
