"""One record a request, and what OpenTelemetry's own SDK and Prometheus' own client make of them."""

import asyncio
import gzip
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from chat_server import ChatServer
from command_line import LIMIT, apart, write_project
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families
from scheduling_world import ANSWER_TOKENS, PROMPT_TOKENS, Server, ask
from test_serving import at, config_of, post, upstream
from world import World, make_config, make_task

from metaspo import OpenAICompatible
from metaspo.backends import FatalError, Request, RequestRejected, Sampling, Scripted, ServerFault, Simulated
from metaspo.cache import MemoryStore
from metaspo.engine import ConfigError, Observer, Prepared
from metaspo.engine.config.schema import TelemetryTable
from metaspo.engine.runs.execute import run_prepared
from metaspo.engine.runtime import telemetry
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.log import NOT_EXPORTED
from metaspo.scheduling import Account, CallRecord, Client, Gateway, Lane, LaneSettings, Prices
from metaspo.scheduling.lanes.call_record import to_both
from metaspo.scheduling.log_context import logging_about
from metaspo.scheduling.telemetry.call_totals import BOUNDS, Spread
from metaspo.scheduling.telemetry.open_telemetry import OpenTelemetry

PRICED = LaneSettings(prices=Prices(input=100_000.0, cached=100_000.0, output=1_000_000.0))
DOLLARS = PROMPT_TOKENS * 0.1 + ANSWER_TOKENS * 1.0


def statuses(records: Sequence[CallRecord]) -> Counter[str]:
    return Counter(record.status for record in records)


async def answered(records: list[CallRecord]) -> None:
    """Question 1 fails once; 1 is asked three times at once, and once more; 2 is refused."""
    server, failures = Server(), iter([ServerFault("not now")])

    def plan(request: Request) -> None:
        if request.messages[-1].content == "question 2":
            raise RequestRejected("no")
        for failure in failures:
            raise failure

    server.plan = plan
    lane = Lane("base", [server], PRICED)
    async with Gateway([lane], store=MemoryStore(), on_call=records.append) as gateway:
        with logging_about(address="iter=1/outer"):
            one, run = ask(1), Account("run")
            single = gateway.complete(one, lane="base", account=run)
            batch = gateway.complete_many([one, one], lane="base", account=run)
            await asyncio.gather(single, batch)
            await gateway.complete_many([one, ask(2)], lane="base", account=run)
            await gateway.complete(one, lane="base", account=run)
            await gateway.lookup_many([one, ask(3)], lane="base", account=run)


@pytest.mark.virtual
async def test_every_request_has_one_record_and_every_call_that_was_paid_for_one_miss() -> None:
    records: list[CallRecord] = []
    await answered(records)
    assert statuses(records) == {"miss": 1, "joined": 2, "hit": 3, "refused": 1}
    (miss,) = [record for record in records if record.status == "miss"]
    assert (miss.lane, miss.endpoint, miss.account, miss.address) == ("base", "server", "run", "iter=1/outer")
    assert (miss.attempts, miss.server_seconds, miss.dollars) == (2, 1.0, DOLLARS)
    assert miss.retry_seconds > 0
    assert miss.usage == (PROMPT_TOKENS, ANSWER_TOKENS, 0)
    (refused,) = [record for record in records if record.status == "refused"]
    assert (refused.error, refused.completion, refused.dollars) == ("RequestRejected", None, None)
    assert {record.address for record in records} == {"iter=1/outer"}


@pytest.mark.virtual
async def test_who_does_not_want_to_be_told_of_hits_is_told_of_all_else() -> None:
    records: list[CallRecord] = []
    lane, account = Lane("base", [Server()], PRICED), Account("run")
    async with Gateway([lane], store=MemoryStore(), on_call=records.append, tell_of_hits=False) as gateway:
        await gateway.complete_many([ask(1), ask(1)], lane="base", account=account)
        found = await gateway.answer(ask(1), lane="base", account=account)
        await gateway.lookup_many([ask(1)], lane="base", account=account)
        gateway.count_hits([(ask(1), found.completion)], lane="base", account=account)
    assert account.statistics().lanes["base"].hits == 3
    assert statuses(records) == {"miss": 1, "joined": 1}


@pytest.mark.virtual
async def test_who_gets_no_answer_has_a_record_that_says_so() -> None:
    server, records = Server(), list[CallRecord]()

    def plan(_request: Request) -> None:
        raise FatalError("bad key")

    server.plan = plan
    async with Gateway([Lane("base", [server])], store=MemoryStore(), on_call=records.append) as gateway:
        asked = [gateway.complete(ask(number), lane="base") for number in range(3)]
        await asyncio.gather(*asked, return_exceptions=True)
    assert statuses(records) == {"failed": 3}
    assert {record.error for record in records} == {"LaneStopped"}


@pytest.mark.virtual
async def test_an_observer_that_raises_is_told_of_once_and_felt_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(record: CallRecord) -> None:
        raise ZeroDivisionError(record.status)

    async with Gateway([Lane("base", [Server()])], store=MemoryStore(), on_call=broken) as gateway:
        answers = await gateway.complete_many([ask(1), ask(2), ask(1)], lane="base")
        again = await gateway.complete(ask(1), lane="base")
    assert [answer.text for answer in [*answers, again] if not isinstance(answer, RequestRejected)] == [
        "question 1",
        "question 2",
        "question 1",
        "question 1",
    ]
    assert len(caplog.records) == 1


def test_a_client_tells_of_hits_in_its_callers_threads_too(tmp_path: Path) -> None:
    records: list[CallRecord] = []
    with upstream() as server:
        lanes = [Lane("m", [OpenAICompatible(server.url)])]
        with Client(lanes, cache=tmp_path / "cache", run="mine", on_call=records.append) as client:
            for _ in range(3):
                client.complete(ask(1))
            client.statistics()
    assert statuses(records) == {"miss": 1, "hit": 2}
    assert {record.account for record in records} == {"mine"}


def exported(spans: float) -> tuple[OpenTelemetry, InMemorySpanExporter, InMemoryMetricReader]:
    """An observer that feeds the SDK's own exporters."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    return (
        OpenTelemetry(spans=spans, tracer_provider=tracing, meter_provider=MeterProvider([reader])),
        exporter,
        reader,
    )


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://gpu:8000/v1", {"server.address": "gpu", "server.port": 8000}),
        ("https://api.example/v1", {"server.address": "api.example"}),
        ("vllm", {}),
    ],
)
def test_a_span_says_of_a_server_what_its_address_says(endpoint: str, said: dict[str, object]) -> None:
    observer, exporter, _ = exported(1.0)
    observer(CallRecord("base", "failed", "0f" * 32, ask(1), endpoint=endpoint))
    (span,) = exporter.get_finished_spans()
    assert {name: value for name, value in (span.attributes or {}).items() if name.startswith("server.")} == said


def counted(reader: InMemoryMetricReader) -> dict[tuple[str, str, str], Any]:
    """Values by metric, status and type of token."""
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        (metric.name, point, dict(point.attributes or {}))
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]
    return {
        (name, str(said.get("metaspo.status", "")), str(said.get("gen_ai.token.type", ""))): getattr(
            point, "value", None
        )
        for name, point, said in points
    }


@pytest.mark.virtual
async def test_opentelemetry_has_counts_of_all_calls_and_spans_with_the_conventions_names() -> None:
    records: list[CallRecord] = []
    await answered(records)
    observer, exporter, reader = exported(1.0)
    for record in records:
        observer(record)
    values = counted(reader)
    assert values["metaspo.requests", "hit", ""] == 3
    assert values["metaspo.requests", "joined", ""] == 2
    assert values["metaspo.attempts", "miss", ""] == 2
    assert values["metaspo.tokens", "miss", "input"] == PROMPT_TOKENS
    assert values["metaspo.cost", "miss", ""] == DOLLARS
    assert values["metaspo.server.time", "", ""] == 1.0
    spans = exporter.get_finished_spans()
    assert len(spans) == len(records)
    (miss,) = [span for span in spans if (span.attributes or {})["metaspo.status"] == "miss"]
    assert (miss.name, miss.kind) == ("chat m", SpanKind.CLIENT)
    said = miss.attributes or {}
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.request.model"] == "m"
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (PROMPT_TOKENS, ANSWER_TOKENS)
    assert said["gen_ai.response.finish_reasons"] == ("stop",)
    assert said["metaspo.run"] == "run"
    assert miss.start_time is not None
    assert miss.end_time is not None
    assert (miss.end_time - miss.start_time) / 1e9 >= 1.0
    (refused,) = [span for span in spans if (span.attributes or {})["metaspo.status"] == "refused"]
    assert refused.status.status_code is StatusCode.ERROR
    assert (refused.attributes or {})["error.type"] == "RequestRejected"
    assert not any("question" in str(span.attributes) for span in spans), "what was asked is nobody's business"


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Sampling(temperature=None, max_tokens=None), {}),
        (Sampling(temperature=0.5, max_tokens=7), {"temperature": 0.5, "max_tokens": 7}),
        (Sampling(temperature=None, max_tokens=None, top_p=0.25), {"top_p": 0.25}),
        (Sampling(temperature=None, max_tokens=None, stop=("a", "b")), {"stop_sequences": ("a", "b")}),
    ],
)
async def test_a_span_says_of_the_sampling_what_was_asked_for_and_no_more(
    sampling: Sampling, said: dict[str, object]
) -> None:
    observer, exporter, _ = exported(1.0)
    async with Gateway([Lane("base", [Server()], PRICED)], store=MemoryStore(), on_call=observer) as gateway:
        await gateway.complete(replace(ask(1), sampling=sampling), lane="base")
    (span,) = exporter.get_finished_spans()
    request = {name: value for name, value in (span.attributes or {}).items() if name.startswith("gen_ai.request.")}
    assert request == {"gen_ai.request.model": "m", **{f"gen_ai.request.{name}": value for name, value in said.items()}}


@pytest.mark.virtual
async def test_a_span_is_a_part_of_the_one_that_its_request_was_asked_in() -> None:
    """Whoever else's turn it is when the answer comes; one that nobody waits for any more is a part of none."""
    observer, exporter, _ = exported(1.0)
    tracer = TracerProvider().get_tracer("program")
    parents: dict[str, int] = {}
    lane = Lane("base", [Server()], replace(PRICED, concurrency=2, billing="tokens"))

    async def question(number: int, *, asked_by: int) -> None:
        with tracer.start_as_current_span(f"{number}") as span:
            parents[f"{number}/{asked_by}"] = span.get_span_context().span_id
            await gateway.complete(ask(number), lane="base", account=Account(f"{number}/{asked_by}"))

    async with Gateway([lane], store=MemoryStore(), on_call=observer) as gateway:
        left = asyncio.create_task(question(9, asked_by=0))
        await asyncio.sleep(0.5)
        left.cancel()
        del parents["9/0"]
        await asyncio.gather(*(question(number % 5, asked_by=number // 5) for number in range(10)))
        await question(1, asked_by=2)
    spans = {str((span.attributes or {}).get("metaspo.run", "")): span for span in exporter.get_finished_spans()}
    alone = spans.pop("")
    assert alone.parent is None
    assert {run: span.parent.span_id if span.parent else 0 for run, span in spans.items()} == parents


def test_observers_of_one_provider_are_counted_together() -> None:
    """Also where they count in several threads."""
    record = CallRecord(lane="base", status="miss", key="0" * 64, request=ask(1), attempts=2)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observers = [OpenTelemetry(meter_provider=provider) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda observer: [observer(record) for _ in range(500)], observers))
    assert counted(reader)["metaspo.requests", "miss", ""] == 2_000
    assert counted(reader)["metaspo.attempts", "miss", ""] == 4_000


def test_observers_of_the_program_s_provider_are_counted_together_though_it_is_set_in_between() -> None:
    ended = python_apart(
        "from opentelemetry.metrics import set_meter_provider",
        "from opentelemetry.sdk.metrics import MeterProvider",
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader",
        "from metaspo.backends import Request",
        "from metaspo.scheduling.lanes.call_record import CallRecord",
        "from metaspo.scheduling.telemetry.open_telemetry import OpenTelemetry",
        "record = CallRecord(lane='base', status='miss', key='0' * 64, request=Request(model='m', messages=()))",
        "first, reader = OpenTelemetry(), InMemoryMetricReader()",
        "provider = MeterProvider([reader], shutdown_on_exit=False)",
        "set_meter_provider(provider)",
        "for observer in (first, OpenTelemetry(), OpenTelemetry(meter_provider=provider)):",
        "    observer(record)",
        "(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics",
        "print({m.name: [p.value for p in m.data.data_points] for m in scope.metrics}['metaspo.requests'])",
    )
    assert ended == "[3]"


def python_apart(*lines: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@given(st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=20), st.sampled_from([0, 0.25, 0.5, 1]))
def test_which_calls_have_spans_follows_from_their_keys_and_more_have_at_a_greater_share(
    keys: list[str], share: float
) -> None:
    record = CallRecord(lane="base", status="miss", key="", request=ask(1))

    def spans(share: float) -> list[object]:
        observer, exporter, _ = exported(share)
        for key in keys:
            observer(record._replace(key=key))
        return [(span.attributes or {})["metaspo.key"] for span in exporter.get_finished_spans()]

    assert spans(share) == [key for key in keys if int(key, 16) / 16**64 < share]


@given(st.lists(st.floats(0, 1_000), max_size=50))
def test_a_spread_counts_each_value_at_or_below_its_bound(values: list[float]) -> None:
    spread = Spread()
    for value in values:
        spread.add(value)
    for number, bound in enumerate(BOUNDS):
        assert sum(spread.counts[: number + 1]) == sum(value <= bound for value in values)
    assert sum(spread.counts) == len(values)


async def test_prometheus_reads_the_page_of_metrics(tmp_path: Path) -> None:
    with upstream() as server:
        async with at(tmp_path, config_of(server.url)) as (session, _):
            await post(session)
            await post(session)
            async with session.get("/metrics") as answer:
                page = await answer.text()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    requests = {sample.labels["outcome"]: sample.value for sample in families["metaspo_requests"].samples}
    assert (requests["fresh"], requests["hit"]) == (1, 1)
    served = families["metaspo_call_server_seconds"]
    assert served.type == "histogram"
    buckets = [sample for sample in served.samples if sample.name.endswith("_bucket")]
    assert [sample.labels["le"] for sample in buckets] == [*map(str, BOUNDS), "+Inf"]
    assert buckets[-1].value == 1
    values = {sample.name: sample.value for sample in served.samples}
    assert values["metaspo_call_server_seconds_count"] == 1
    assert 0 < values["metaspo_call_server_seconds_sum"] < 60
    assert all(one.value <= two.value for one, two in pairwise(buckets))


@pytest.mark.virtual
async def test_the_records_of_a_run_add_up_to_what_its_account_has_booked_and_know_where_in_it_they_are() -> None:
    config = make_config({"runs": ""})
    prepared = Prepared(config=config, tasks=(make_task("a"), make_task("u", role="target")), folder=Path())
    records: list[CallRecord] = []
    lanes = [Lane(name, [Simulated(World(3).answer, seed=1)]) for name in ("base", "optimizer")]
    async with Gateway(lanes, store=MemoryStore(), on_call=records.append) as gateway:
        report = await run_prepared(prepared, gateway, LaneNames(), observer=Observer())
    for lane, use in report.usage.lanes.items():
        counts = statuses([record for record in records if record.lane == lane])
        assert (counts["miss"], counts["hit"], counts["joined"]) == (use.calls - use.withdrawn, use.hits, use.joined)
        assert counts["miss"] > 0
    assert all(record.address or not record.account for record in records), "nobody waited for it any more"
    assert {"init", "test"} <= {record.address.split("/")[0] for record in records}


class Collector(BaseHTTPRequestHandler):
    """Takes what is exported, and remembers it by path."""

    taken: ClassVar[dict[str, list[bytes]]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.setdefault(self.path, []).append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own
        """Say nothing."""


@pytest.mark.slow
def test_a_collector_that_is_not_there_is_said_once_with_the_variable_that_says_where_it_is(tmp_path: Path) -> None:
    with ChatServer(World(3).answer) as server:
        path = write_project(tmp_path, server.url)
        path.write_text(path.read_text() + "\n[telemetry]\notel = true\nspans = 0.5\n")
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        ended = apart("optimize", "run.toml", folder=tmp_path, environment=where)
    assert ended.code == 0
    assert not ended.errors
    assert [line for line in ended.err.splitlines() if "export" in line.lower()] == [f"warning: {NOT_EXPORTED}"]


def test_a_run_whose_config_asks_for_it_exports_to_the_collector_that_the_environment_names(tmp_path: Path) -> None:
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    try:
        with ChatServer(World(3).answer) as server:
            path = write_project(tmp_path, server.url)
            path.write_text(path.read_text() + "\n[telemetry]\notel = true\nspans = 0.5\n")
            where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
            ended = apart("optimize", "run.toml", folder=tmp_path, environment=where)
    finally:
        collector.shutdown()
        collector.server_close()
    assert ended.code == 0, ended.err
    spans = [
        span
        for body in Collector.taken["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.name for span in spans} == {"chat answerer", "chat writer"}
    assert Collector.taken["/v1/metrics"]


def test_each_caller_of_a_client_has_records_of_its_own_place_in_a_run() -> None:
    """Also those who ask while the loop is being woken for another, and those who are answered from the cache."""
    records: list[CallRecord] = []
    with Client([Lane("m", [Scripted(lambda request: "yes")])], on_call=records.append) as client:
        for _ in range(2):
            held = threading.Event()
            client._thread.loop.call_soon_threadsafe(held.wait)
            with ThreadPoolExecutor(8) as threads:
                asked = [threads.submit(ask_from, client, number) for number in range(8)]
                while len(client._thread._waiting) + sum(future.done() for future in asked) < 8:
                    threading.Event().wait(0.001)
                held.set()
        client.statistics()
    said = [(record.status, record.request.messages[-1].content, record.address) for record in records]
    assert sorted(said) == sorted(
        (status, f"question {number}", f"iter={number}") for status in ("hit", "miss") for number in range(8)
    )


def ask_from(client: Client, number: int) -> None:
    with logging_about(address=f"iter={number}"):
        client.complete(ask(number))


@contextmanager
def collector_that(answers: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A collector, which the environment names."""
    collector = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        collector.shutdown()
        collector.server_close()


RECORD = CallRecord(lane="base", status="miss", key="0" * 64, request=ask(1))


async def test_a_collector_that_hangs_holds_up_an_end_no_longer_than_its_grace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    class Hanging(Collector):
        def do_POST(self) -> None:
            over.wait()
            super().do_POST()

    monkeypatch.setattr(telemetry, "GRACE", 0.01)
    with collector_that(Hanging, monkeypatch):
        try:
            async with telemetry.exporting([TelemetryTable(otel=True, spans=1)]) as on_call:
                assert on_call is not None
                on_call(RECORD)
            assert "within 0.01 seconds" in caplog.text
        finally:
            over.set()
            left = [thread for thread in threading.enumerate() if thread.name == "telemetry"]
            for thread in left:
                await asyncio.to_thread(thread.join)
    assert all(thread.daemon for thread in left)


async def test_what_is_left_of_spans_and_counts_goes_side_by_side(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    both = threading.Barrier(2, timeout=LIMIT)

    class Waiting(Collector):
        def do_POST(self) -> None:
            both.wait()
            super().do_POST()

    monkeypatch.setattr(telemetry, "GRACE", LIMIT)
    with collector_that(Waiting, monkeypatch):
        async with telemetry.exporting([TelemetryTable(otel=True, spans=1)]) as on_call:
            assert on_call is not None
            on_call(RECORD)
    assert not both.broken
    assert "collector has not taken" not in caplog.text


@pytest.mark.parametrize("name", ["OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE"])
async def test_a_variable_that_cannot_be_so_is_a_mistake_in_a_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "0")
    with pytest.raises(ConfigError, match=name):
        async with telemetry.exporting([TelemetryTable(otel=True)]):
            raise AssertionError


def test_of_two_observers_each_is_told_though_the_other_raises() -> None:
    told: list[CallRecord] = []

    def broken(record: CallRecord) -> None:
        raise ZeroDivisionError(record.status)

    for both in (to_both(broken, told.append), to_both(told.append, broken)):
        with pytest.raises(ZeroDivisionError):
            both(RECORD)
    assert told == [RECORD, RECORD]
