"""The gateway over HTTP, for programs that speak OpenAI's API."""

from metaspo.serving.config import ServeConfig, embedded_config, load_serve_config, open_client
from metaspo.serving.server import Server, open_server, serve

__all__ = ["ServeConfig", "Server", "embedded_config", "load_serve_config", "open_client", "open_server", "serve"]
