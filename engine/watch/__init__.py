"""The live page: runs that go on, have finished, or were killed, as their directories tell."""

from metaspo.engine.watch.beside import serve_beside
from metaspo.engine.watch.server import serve_watch

__all__ = ["serve_beside", "serve_watch"]
