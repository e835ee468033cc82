"""Who waits for a change of what, and how we hear of it."""
