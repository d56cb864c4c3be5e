"""One endpoint looked at: whether it answers, with which model, how fast, how long, under which limits."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from metaspo.backends import (
    Backend,
    BackendError,
    LimitHints,
    Message,
    ModelFileUnavailable,
    OpenAICompatible,
    Progress,
    Startable,
    TimedOut,
)
from metaspo.engine.config.lanes import make_backends
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import BASE_TEMPERATURE, OPTIMIZER_TEMPERATURE, model_of
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.prompts import Roles
from metaspo.engine.suggest import nearest

COUNTING = "Count from 1 to 40, with spaces between the numbers and nothing else."
TOKENS = 64  # that are asked for, so that their rate says something
HEEDED = "BLUE"
AT_LEAST, TIMES_FIRST = 30.0, 16
"""Seconds, or times as long as its first answer took, that an endpoint gets for the second; after as many seconds it is
said that the first one is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCheck:
    """One endpoint of one model.

    Attributes:
        role: "base", "optimizer" or "judge".
        fault: why it cannot be used, in a sentence; "" if it can.
        mistake: whether that is the config's or the environment's, and no server was asked.
        seconds: that its answer took.
        tokens_per_second: of this one call; None where nothing was counted.
        context: the longest prompt and answer together in tokens, None if it does not say so.
        limits: what its headers say, None for nothing.
        heeds_system: whether an order in the system prompt was followed; None where it was not tried.
    """

    role: str
    model: str
    endpoint: str = ""
    fault: str = ""
    mistake: bool = False
    seconds: float = 0.0
    tokens_per_second: float | None = None
    context: int | None = None
    limits: LimitHints | None = None
    heeds_system: bool | None = None
    advice: tuple[str, ...] = ()


async def check_servers(
    config: RunConfig,
    *,
    environment: Mapping[str, str],
    progress: Progress | None = None,
    logs: Path | None = None,
    warn: Warn = log_warning,
) -> tuple[ServerCheck, ...]:
    """Every endpoint of all models, those of one after the other."""
    checks: list[ServerCheck] = []
    for role, table in config.models.items():
        try:
            backends = make_backends(table, environment=environment, progress=progress, logs=logs)
        except ConfigError as error:
            checks.append(ServerCheck(role=role, model=table.model, fault=str(error), mistake=True))
            continue
        roles = config.roles if role == "base" else table.roles or "separate"
        for backend in backends:
            try:
                checks.append(await _check(backend, role, table, roles, warn=warn))
            finally:
                await backend.aclose()
    return tuple(checks)


async def _check(backend: Backend, role: str, table: ModelTable, roles: Roles, *, warn: Warn) -> ServerCheck:
    check = ServerCheck(role=role, model=table.model, endpoint=backend.name)
    asked = (backend.own_model if isinstance(backend, OpenAICompatible) else "") or table.model
    served: tuple[str, ...] = ()
    try:
        if isinstance(backend, Startable):
            await backend.start()
        info = await backend.probe()
        check, served = replace(check, context=info.context), info.models
        waited = (
            f"{role}: {backend.name} has not answered a short call for {AT_LEAST:g} seconds. It may be loading the "
            f"model, and gets {table.time_limit:g} ({role}.time_limit)"
        )
        note = asyncio.get_running_loop().call_later(AT_LEAST, warn, waited)
        try:
            check = await _timed(backend, check, table, roles)
        finally:
            note.cancel()
        if roles == "separate":
            check = replace(check, heeds_system=await _heeds_system(backend, table, first=check.seconds))
    except (BackendError, ModelFileUnavailable) as error:
        return replace(check, fault=f"{str(error).rstrip('.')}{_meant(asked, served)}")
    return replace(check, advice=_advice(check, table, asked, served))


def _meant(model: str, served: tuple[str, ...]) -> str:
    """Which models the server lists, where the one that is wanted is not among them."""
    if not served or model in served:
        return ""
    return f". It lists {', '.join(served[:8])}{', …' if len(served) > 8 else ''}{nearest(model, served)}."


async def _timed(backend: Backend, check: ServerCheck, table: ModelTable, roles: Roles) -> ServerCheck:
    """A call of some tokens. Raises a `BackendError`."""
    temperature = OPTIMIZER_TEMPERATURE if check.role == "optimizer" else BASE_TEMPERATURE
    model = model_of(table, temperature=temperature)
    model = replace(model, roles=roles, sampling=replace(model.sampling, max_tokens=min(TOKENS, table.max_tokens)))
    request = model.request((Message("system", "Do as you are told."), Message("user", COUNTING)))
    started = anyio.current_time()
    reply = await backend.complete(request, time_limit=table.time_limit)
    seconds = anyio.current_time() - started
    tokens = reply.completion.usage.completion_tokens
    return replace(
        check, seconds=seconds, tokens_per_second=tokens / seconds if tokens and seconds else None, limits=reply.hints
    )


async def _heeds_system(backend: Backend, table: ModelTable, *, first: float) -> bool:
    """Whether what stands in the system role reaches the model, which needed `first` seconds for as long an answer.
    Raises a `BackendError`."""
    model = model_of(table)
    order = Message("system", f"Whatever you are asked, answer with the one word {HEEDED}.")
    request = model.request((order, Message("user", "Which colour has grass?")))
    within = min(table.time_limit, max(AT_LEAST, TIMES_FIRST * first))
    try:
        reply = await backend.complete(request, time_limit=within)
    except TimedOut as error:
        raise TimedOut(f"{error} The call before it was answered in {first:.1f}.") from error
    return HEEDED in (reply.completion.text + reply.completion.reasoning).upper()


def _advice(check: ServerCheck, table: ModelTable, asked: str, served: tuple[str, ...]) -> tuple[str, ...]:
    """What the config should say of the model, of which a server was `asked` by that name and lists these."""
    advice = []
    if unlisted := _meant(asked, served):
        where = check.role if asked == table.model else f"an endpoint of {check.role}"
        advice.append(f"{where}: model = {asked!r} is answered, but not what the server lists{unlisted}")
    if check.heeds_system is False and check.role == "base":
        advice.append(
            "an order in the system prompt was not followed: if that is no weakness of the model but the server leaves "
            'system prompts out, set roles = "merged"'
        )
    if check.context is not None and table.max_tokens >= check.context:
        advice.append(
            f"{check.role}.max_tokens = {table.max_tokens:,} leaves no room for a prompt in a context of "
            f"{check.context:,} tokens: lower it"
        )
    told = check.limits.tokens_limit if check.limits else None
    if told and table.tokens_per_minute and table.tokens_per_minute > told:
        advice.append(
            f"{check.role}.tokens_per_minute = {table.tokens_per_minute:,} is more than the server's own {told:,}: "
            "lower it, or leave it out"
        )
    return tuple(advice)
