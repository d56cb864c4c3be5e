"""A real Redis or Valkey server in a folder of its own, reached by a socket file there."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
PASSWORD = "s3cret-and:odd@"
LIMIT = 60.0  # seconds that it gets to start


class RealRedis:
    """One server; its data outlives `kill` and `start`, as with appendonly on a machine."""

    def __init__(self, folder: Path, *, password: str = "") -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.password = password
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, **options: str) -> None:
        """Start it and wait until it answers; options are lines of its configuration file."""
        assert PROGRAM is not None
        lines = {"port": "0", "unixsocket": str(self.socket), "dir": str(self.folder), "save": '""'}
        lines |= {"appendonly": "yes", "appendfsync": "always", "logfile": str(self.folder / "log")} | options
        if self.password:
            lines["requirepass"] = self.password
        config = self.folder / "redis.conf"
        config.write_text("".join(f"{name.replace('_', '-')} {value}\n" for name, value in lines.items()))
        self._process = subprocess.Popen([PROGRAM, str(config)], stdout=subprocess.DEVNULL)
        with self.client() as client:
            end = time.monotonic() + LIMIT
            while self._process.poll() is None and time.monotonic() < end:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.BusyLoadingError):
                    time.sleep(0.01)  # another process is starting: there is no event to wait for
                else:
                    return
        raise RuntimeError((self.folder / "log").read_text())

    def client(self) -> "redis.Redis":
        """A client of the tests' own."""
        return redis.Redis(unix_socket_path=str(self.socket), password=self.password or None)

    def kill(self) -> None:
        """End it as a power cut would end its process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It answers nobody until it goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of a pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def real_redis(folder: Path, *, password: str = "", **options: str) -> Iterator[RealRedis]:
    """A server that runs for the length of a `with`; skips the test where there is no such program."""
    if PROGRAM is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    server = RealRedis(folder, password=password)
    try:
        server.start(**options)
        yield server
    finally:
        server.kill()
