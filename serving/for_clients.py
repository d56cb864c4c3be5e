"""A failure as a client of a server is told it: what the client can do. Where the models are, and what only whoever
runs the server can mend, is for its log."""

import math
import re
from collections.abc import Collection, Mapping

from metaspo.backends.counted import counted
from metaspo.scheduling import CallFailed
from metaspo.scheduling.client.failures import Kind

_SEE = "whoever runs this server finds in its log why"
_WITHHELD: Mapping[Kind, str] = {
    "access": f"The model {{model}} cannot be had here now, whatever is asked: {_SEE}.",
    "credit": f"The model {{model}} cannot be had here now: what this server may spend on it is used up; {_SEE}.",
    "model": f"The model {{model}} cannot be had here now, as its own server does not know it: {_SEE}.",
    "unavailable": f"The model {{model}} does not answer now; {_SEE}.",
    "store": f"This server cannot keep what is answered or spent, and so asks nothing: {_SEE}.",
    "bug": f"A mistake in metaspo: {_SEE}.",
}
_ITS_SERVER = "the model's server"
_LESS = "lower max_tokens in the request"
_TOO_DEAR = f"The model {{model}} cannot be had here now for so many tokens: {_LESS}; {_SEE}."
_SERVER_SAYS = ". The server says: "
_THEIRS = "raise the cap"


def is_withheld(failed: CallFailed) -> bool:
    """Whether what it says is only for whoever runs the server."""
    return failed.kind in _WITHHELD


def for_client(failed: CallFailed, *, model: str, servers: Collection[str]) -> CallFailed:
    """The same failure in words for a client that asked for `model`, which these servers have."""
    words = str(failed)
    if is_withheld(failed):
        again = f" Try again in {counted(math.ceil(failed.retry_after), 'second')}." if failed.retry_after else ""
        ours = words.partition(_SERVER_SAYS)[0]  # a server says anything
        told_instead = _TOO_DEAR if failed.kind == "credit" and _LESS in ours else _WITHHELD[failed.kind]
        words = told_instead.format(model=model) + again
    elif failed.kind == "budget":
        words = words.replace(_THEIRS, f"ask whoever runs this server to {_THEIRS}")
    told = CallFailed(_without_addresses(words, servers), kind=failed.kind, retry_after=failed.retry_after)
    told.__cause__ = failed
    return told


def _without_addresses(words: str, servers: Collection[str]) -> str:
    words = re.sub(r"\(status (\d+), [^\s)]+\)", r"(status \1)", words)
    hosts = (name.rpartition(":")[0] for name in servers)
    names = {*servers, *(host for host in hosts if "." in host or ":" in host)}  # others may be words of a sentence
    for name in sorted(names, key=len, reverse=True):
        address = rf"(?:https?://)?(?<![\w.-]){re.escape(name)}(?::\d+)?(?![\w-]|\.\w)(?:/[^\s,;)]*)?"
        words = re.sub(address, _ITS_SERVER, words)
    return words.replace(_ITS_SERVER, _ITS_SERVER.capitalize(), 1) if words.startswith(_ITS_SERVER) else words
