"""Files of a directory, and the pages that stand in for a backend."""
