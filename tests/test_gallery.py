"""Every dialect of the gallery is understood, and a whole run goes through against each, by the table in the docs."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chat_server import GONE, ChatServer, Refusal
from command_line import EXHAUSTIVE, here, task_table, write_data, write_project
from gallery import GALLERY, THOUGHT, Dialect, Said, answer
from misbehaving_server import response, serving
from world import World

from metaspo.backends import (
    CONTENT_FILTER,
    BackendError,
    Completion,
    CreditExhausted,
    Message,
    OpenAICompatible,
    Overloaded,
    RateLimited,
    Request,
    RequestRejected,
    Usage,
)

ROOT = Path(__file__).resolve().parent.parent
WORLD = World(3, malformed=0.1)
REQUEST = Request(model="m", messages=(Message("user", "Is it so?"),))
dialects = pytest.mark.parametrize("dialect", GALLERY, ids=lambda dialect: dialect.name)


async def met(dialect: Dialect, said: Said) -> Completion | BackendError:
    """What comes of a response in a dialect, asked for at the dialect's own address."""
    async with serving(response(said.status, said.body, said.headers)) as (url, seen):
        backend = OpenAICompatible(url + dialect.path, api_key="k")
        try:
            return (await backend.complete(REQUEST, time_limit=30)).completion
        except BackendError as error:
            return error
        finally:
            await backend.aclose()
            assert [head.split(" ")[1] for head in seen.heads] == [dialect.path]


@dialects
async def test_an_answer_is_read_with_what_it_took(dialect: Dialect) -> None:
    completion = await met(dialect, Said(status=200, body=dialect.success("yes")))
    assert isinstance(completion, Completion)
    assert (completion.text, completion.finish_reason, completion.reasoning) == ("yes", "stop", "")
    assert completion.usage == Usage(40, 60)


@dialects
async def test_thinking_is_told_from_the_answer_and_paid_for(dialect: Dialect) -> None:
    """Where it is shown; where it is not it is paid for all the same."""
    completion = await met(dialect, Said(status=200, body=dialect.reasoning("yes")))
    assert isinstance(completion, Completion)
    assert (completion.text.strip(), completion.finish_reason) == ("yes", "stop")
    assert completion.reasoning in (THOUGHT, "")
    assert completion.usage == Usage(40, 60)


@dialects
async def test_a_refusal_is_about_the_request_and_final(dialect: Dialect) -> None:
    """As an answer that was paid for, or a request that will never be answered; never as a fault to be tried again."""
    outcome = await met(dialect, dialect.refusal)
    if isinstance(outcome, Completion):
        assert outcome.finish_reason == CONTENT_FILTER
    else:
        assert type(outcome) is RequestRejected


@dialects
async def test_a_prompt_that_does_not_fit_is_about_the_request_and_final(dialect: Dialect) -> None:
    outcome = await met(dialect, dialect.too_long)
    assert type(outcome) is RequestRejected
    assert "The server says" in str(outcome)


@dialects
async def test_limits_credit_and_overload_are_told_apart(dialect: Dialect) -> None:
    """One is waited for, one wants a person, one wants less at once."""
    for said, kind in (
        (dialect.rate_limit, RateLimited),
        (dialect.quota, CreditExhausted),
        (dialect.overload, Overloaded),
    ):
        if said is not None:
            outcome = await met(dialect, said)
            assert type(outcome) is kind, str(outcome)


@pytest.mark.parametrize(
    ("name", "seconds"), [("OpenAI", 0.82), ("Azure OpenAI", 0.9), ("Gemini", 34), ("Anthropic", 2)]
)
async def test_when_to_come_back_is_read_wherever_it_is_told(name: str, seconds: float) -> None:
    """In headers, in milliseconds, or within the body."""
    (dialect,) = (dialect for dialect in GALLERY if dialect.name == name)
    assert dialect.rate_limit is not None
    outcome = await met(dialect, dialect.rate_limit)
    assert isinstance(outcome, RateLimited)
    assert outcome.retry_after == seconds


def tables_in_docs() -> dict[str, str]:
    """The table of each provider in the docs."""
    text = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## (.+?)\n\n```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_every_dialect_is_in_the_docs_and_every_table_there_is_tried() -> None:
    assert [dialect.name for dialect in GALLERY] == list(tables_in_docs())


@dialects
def test_a_whole_run_goes_through_by_the_table_in_the_docs(
    dialect: Dialect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a server that thinks before it answers; it hangs up at first. No key is anywhere afterwards."""

    def gone_at_first(_: Request, before: int) -> Refusal | None:
        return GONE if before == 0 else None

    def form(_: Request, text: str) -> object:
        return dialect.reasoning(text)

    with ChatServer(WORLD.answer, refuse=gone_at_first, form=form, path=dialect.path) as server:
        origin = server.url.removesuffix("/v1")
        table = re.sub(r"https?://[^/\"]+", origin, tables_in_docs()[dialect.name])
        key = "planted-key-4711"
        for name in ("OPENAI_API_KEY", *re.findall(r'"\$?([A-Z_]+_KEY)"', table)):
            monkeypatch.setenv(name, key)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{origin}/v1")
        models = table + "\n" + table.replace("[base]", "[optimizer]")
        for name in ("a", "unseen"):
            write_data(tmp_path, name, train=4, test=3)
        tasks = task_table("a") + "\n" + task_table("unseen", role="target")
        loops = "[inner]\ncandidates = 1\nkeep = 1\n\n[outer]\ncandidates = 1\n"
        head = f"seed = 7\niterations = 1\n{EXHAUSTIVE}\n"
        (tmp_path / "run.toml").write_text(f"{head}\n{models}\n{loops}\n{tasks}", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        ended = here("optimize", "run.toml", "--json")
    assert ended.code == 0, ended.err
    summary = ended.data[0]["summary"]
    assert summary["finished"]
    assert server.calls > 10
    assert summary["usage"]["total"]["calls"] - server.calls in (0, 1)  # where tokens cost, one hung up on is counted
    assert summary["usage"]["total"]["completion_tokens"] >= 60 * server.calls
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.encode() not in written
    assert urlsplit(origin).netloc.encode() in written


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (answer(None, "length", reasoning_content=THOUGHT), "max_tokens"),
        (answer(None, "content_filter"), "content filter withheld"),
    ],
)
def test_an_optimizer_whose_answers_are_none_is_told_what_kept_them_from_it(
    said: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its proposals are malformed for want of room, or of leave, not of skill."""

    def form(request: Request, text: str) -> object:
        return said if request.model == "writer" else answer(text)

    monkeypatch.chdir(tmp_path)
    with ChatServer(WORLD.answer, form=form) as server:
        write_project(tmp_path, server.url)
        ended = here("optimize", "run.toml")
    assert ended.code == 0
    (journal,) = tmp_path.glob(".metaspo/runs/*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    whys = {event["why"] for event in events if event["event"] == "malformed"}
    assert len(whys) == 1
    assert told in whys.pop()
