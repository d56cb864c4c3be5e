"""metaspo as DSPy's language model.

lm = LM("mine", client=Client([lane], cache=".metaspo/cache"))
dspy.configure(lm=lm)

Every call goes through the client: cached on disk, equal ones asked once, held until the provider's limits let it go.
Rollouts (`rollout_id` at a temperature above 0) and the candidates of `n` are samples of their own, the same ones when
the program is run again.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

import dspy
from dspy import lm15

from metaspo.adapters.chat import Connection, answer_of, errors_as, nth_of_rollout, request_of
from metaspo.backends import Request
from metaspo.backends.chat.format import encoded
from metaspo.scheduling import CallFailed, Client


class _Rollout:
    """A rollout that is being asked for, and how often it was."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked = count()


_ROLLOUT: ContextVar[_Rollout | None] = ContextVar("rollout", default=None)


@dataclass(frozen=True, slots=True)
class _Body:
    """An answer in the form in which DSPy reads what a server sent."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """What it says."""
        return json.loads(self.body)


class _Codec:
    """DSPy's own translation to and from OpenAI's chat format: nothing that it can say is lost."""

    def __init__(self) -> None:
        self._lm = lm15.OpenAIChatLM(api_key="none", base_url="http://127.0.0.1")

    def request(self, request: Any) -> Request:  # noqa: ANN401 - DSPy's
        """What is asked. Raises `CallFailed` for what cannot be done."""
        asked = request_of(json.loads(self._lm.build_request(request, False).body))
        rollout = _ROLLOUT.get()
        return asked if rollout is None else nth_of_rollout(asked, rollout.number, next(rollout.asked))

    def response(self, request: Any, body: dict[str, Any]) -> Any:  # noqa: ANN401 - DSPy's
        """What came back."""
        return self._lm.parse_response(request, _Body(encoded(body)))


class _Saved(Connection):
    """What an engine needs so that a program with it can be saved and loaded."""

    def __init__(self, client: Client | str | Path) -> None:
        """A client, or the path of a config: only an engine made of a path can be saved with a program."""
        super().__init__(client)
        self._codec = _Codec()

    def dump_state(self) -> dict[str, str]:
        """The config's path. Raises `TypeError` where there is none."""
        if not self.config:
            raise TypeError("This engine was made of a client: make it of a config's path for a program to be saved.")
        return {"config": self.config}

    @classmethod
    def load_state(cls, state: dict[str, str]) -> Self:
        """Undoes `dump_state`."""
        return cls(state["config"])


class Engine(_Saved):
    """Answers DSPy's requests, one attempt each: what can be tried again was."""

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - DSPy's
        """One response. Raises errors of `dspy.lm15`."""
        with errors_as(_error_of):
            completion = self.client.complete(self._codec.request(request))
        return self._codec.response(request, answer_of(completion, model=request.model))

    def stream(self, request: Any) -> Iterator[Any]:  # noqa: ANN401 - DSPy's
        """The response as events."""
        events: Iterator[Any] = lm15.response_to_events(self.complete(request))
        return events

    def close(self) -> None:
        """The client is closed by whoever made it."""


class AsyncEngine(_Saved):
    """The same for coroutines."""

    async def complete(self, request: Any) -> Any:  # noqa: ANN401 - DSPy's
        """One response. Raises errors of `dspy.lm15`."""
        with errors_as(_error_of):
            completion = await self.client.acomplete(self._codec.request(request))
        return self._codec.response(request, answer_of(completion, model=request.model))

    async def stream(self, request: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - DSPy's
        """The response as events."""
        for event in lm15.response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """The client is closed by whoever made it."""


class LM(dspy.LM):  # type: ignore[misc, unused-ignore] # DSPy is not installed where the types are checked
    """`dspy.LM` over a client, whose rollouts are draws. DSPy's own cache and retries are off: the client's do both."""

    def __init__(self, model: str, *, client: Client | str | Path | None = None, **settings: Any) -> None:  # noqa: ANN401
        """`model` as the client's lanes name it; `client`, or the path of a config; `settings` are `dspy.LM`'s."""
        if client is not None:
            settings = {"engine": Engine(client), "async_engine": AsyncEngine(client), **settings}
        super().__init__(model, **{"cache": False, "num_retries": 0, **settings})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - DSPy's
        """As `dspy.LM`."""
        with self._rollout(kwargs):
            return super().__call__(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - DSPy's
        """As `dspy.LM`."""
        with self._rollout(kwargs):
            return await super().acall(*args, **kwargs)

    @contextmanager
    def _rollout(self, kwargs: dict[str, Any]) -> Iterator[None]:
        said = kwargs.get("rollout_id", self.kwargs.get("rollout_id"))
        token = _ROLLOUT.set(_Rollout(said) if isinstance(said, int) else None)
        try:
            yield
        finally:
            _ROLLOUT.reset(token)


def _error_of(failed: CallFailed) -> Exception:
    kind = {
        "model": lm15.UnsupportedModelError,
        "access": lm15.AuthError,
        "credit": lm15.BillingError,
        "budget": lm15.BillingError,
        "unavailable": lm15.ServerError,
        "closed": lm15.ServerError,
        "given_up": lm15.ServerError,
        "store": lm15.ConfigurationError,
    }.get(failed.kind, lm15.InvalidRequestError)
    if failed.kind == "rejected" and "context" in str(failed):
        kind = lm15.ContextLengthError
    error: Exception = kind(str(failed))
    return error
