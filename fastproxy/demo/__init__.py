"""A small monolith behind fastproxy, to be seen working: `fastproxy demo`."""
