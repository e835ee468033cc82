"""git's own programs as subprocesses: repositories beneath one root, pipes driven by the loop."""
