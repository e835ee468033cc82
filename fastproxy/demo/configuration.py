"""What the demo writes into its directory: a secret, and a configuration like any other."""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONFIGURATION: Final = """\
[server]
listen = ["127.0.0.1:{port}"]
admin_listen = "unix:{home}/admin.sock"
workers = 2
state_dir = "{home}/state"

[limits]
connections = 256

[log]
error = "{home}/error.log"

[auth]
secret_file = "{home}/secret"

[backend.default]
address = "unix:{home}/app.sock"

[store.default]
type = "local"
path = "{home}/store"

[[route]]
action = "upload"
path = "/uploads/*"

[[route]]
action = "proxy"
path = "/**"
"""


@dataclass(frozen=True, slots=True)
class Home:
    """A directory and the files of the demo beneath it."""

    path: Path
    port: int

    @property
    def configuration(self) -> Path:
        """The configuration of fastproxy."""
        return self.path / "fastproxy.toml"

    @property
    def app_socket(self) -> Path:
        """Where the application listens."""
        return self.path / "app.sock"

    @property
    def app_log(self) -> Path:
        """What the application's server says."""
        return self.path / "app.log"

    @property
    def error_log(self) -> Path:
        """What fastproxy says of itself."""
        return self.path / "error.log"

    def furnish(self) -> None:
        """Write the secret and the configuration."""
        for place in ("state", "store"):
            (self.path / place).mkdir(0o700)
        secret = self.path / "secret"
        secret.touch(0o600)
        secret.write_bytes(base64.b64encode(secrets.token_bytes(32)) + b"\n")
        self.configuration.write_text(_CONFIGURATION.format(home=self.path, port=self.port))
