"""fastproxy: a smart reverse proxy that takes the slow requests off a monolith.

Nothing heavy is imported here, so that `from fastproxy.chunker import Chunker` costs only itself.
"""

__version__ = "0.1.0"
