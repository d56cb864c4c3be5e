"""The gateway over HTTP, for programs that speak OpenAI's API."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.serving.config import ServeConfig, embedded_config, load_serve_config, open_client
    from metaspo.serving.server import Server, open_server, serve
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = ["ServeConfig", "Server", "embedded_config", "load_serve_config", "open_client", "open_server", "serve"]
