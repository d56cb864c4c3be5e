"""The process around the embedded model's server: what `LocalModel` starts by this file's path and talks to.

It reads one line of JSON from its standard input (the settings, with the key: arguments would be seen by every user of
the machine), answers one line of JSON on its standard output when the server is ready, and ends when its input ends,
which it does however the parent dies. What llama.cpp says goes to standard error.
"""

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass

MISSING_PACKAGE = 3
"""Exit status when xllamacpp is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How to serve one GGUF file.

    Attributes:
        alias: the model name the server gives.
        threads: compute threads.
        parallel: requests answered at the same time; more wait in the server's queue.
        context: tokens of prompt plus answer that one request may have.
    """

    path: str
    alias: str
    api_key: str
    threads: int
    parallel: int
    context: int

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Serve until standard input ends."""
    answer = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever the library writes to standard output must not mix with our one line
    settings = ServerSettings(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        import xllamacpp
    except ImportError:
        os._exit(MISSING_PACKAGE)  # the thread holds standard input, which an orderly exit would wait for
    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    params.model_alias = {settings.alias}
    params.api_keys = [settings.api_key]
    params.port = 0
    params.offline = True
    params.ui = False
    params.verbosity = 2  # warnings; the next level is several lines a request
    params.endpoint_metrics = True
    params.n_parallel = settings.parallel
    params.n_ctx = settings.context * settings.parallel
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    server = xllamacpp.Server(params)
    answer.write(json.dumps({"address": server.listening_address}).encode() + b"\n")
    threading.Event().wait()


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(1 << 12):
        pass
    os._exit(0)  # nothing to save, and the server's own threads would keep the process alive


if __name__ == "__main__":
    main()
