"""The gateway over HTTP, for programs that speak OpenAI's API."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.serving.config import ServeConfig as ServeConfig
    from metaspo.serving.config import embedded_config as embedded_config
    from metaspo.serving.config import load_serve_config as load_serve_config
    from metaspo.serving.config import open_client as open_client
    from metaspo.serving.server import Server as Server
    from metaspo.serving.server import open_server as open_server
    from metaspo.serving.server import serve as serve
else:
    __getattr__, __dir__ = late_exports(__name__)
