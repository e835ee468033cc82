import subprocess
import sys


def test_nothing_of_redis_is_loaded_unless_a_route_polls() -> None:
    code = (
        "import fastproxy.worker.app, sys;"
        "sys.exit(any(m.split('.')[0] == 'redis' for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
