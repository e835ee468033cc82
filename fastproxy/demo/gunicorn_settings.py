"""What gunicorn reads with `--config python:fastproxy.demo.gunicorn_settings`."""

workers = 2
worker_class = "sync"
control_socket_disable = True  # nothing in the user's home; versions without it ignore this
