"""What a server tells about itself in its list of models."""

from collections.abc import Mapping

from metaspo.backends.base import ServerInfo
from metaspo.backends.http.loose_json import loads


def read_models(body: bytes) -> ServerInfo:
    """The body of `GET /models`: names, and the smallest context where the server adds one to OpenAI's form.

    vLLM gives it as `max_model_len`, llama.cpp as `meta.n_ctx` (or only what the model was trained for). A body that is
    no such list, an HTML page for example, names none.
    """
    try:
        listing = loads(body)
    except ValueError:
        return ServerInfo(models=())
    rows = listing.get("data") if isinstance(listing, dict) else None
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    contexts = [context for row in rows if (context := _context(row)) is not None]
    names = tuple(row["id"] for row in rows if isinstance(row.get("id"), str))
    return ServerInfo(models=names, context=min(contexts, default=None))


def _context(row: Mapping[str, object]) -> int | None:
    meta = row.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    for value in (row.get("max_model_len"), meta.get("n_ctx"), meta.get("n_ctx_train")):
        if isinstance(value, int) and value > 0:
            return value
    return None
