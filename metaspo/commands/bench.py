"""`metaspo bench`: what metaspo costs, and how near it comes to what servers and limits allow."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import bench
from metaspo.backends.http.base_url import parse_base_url
from metaspo.bench.defaults import DOMAINS, LIVE_CALLS, SEEDS
from metaspo.console import exit_on_user_error, say_note
from metaspo.engine import ConfigError
from metaspo.engine.environment import environment_with_dotenv
from metaspo.late_commands import COMMANDS
from metaspo.parameters import Json, NamedArguments, WholeSentences
from metaspo.tables.bench import show

bench_app = typer.Typer(
    cls=WholeSentences,
    help="Measure what metaspo costs, and how near it comes to what servers and limits allow.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Small = Annotated[bool, typer.Option("--small", help="Small runs instead of the paper's size.")]
Seeds = Annotated[int, typer.Option(metavar="N", min=1, help="Worlds of each kind; figures are means over them.")]
Turns = Annotated[int, typer.Option(metavar="N", min=1, help="Measurements of each contender; they take turns.")]
KeyVariable = Annotated[str, typer.Option(metavar="NAME", help="Environment variable that holds the key.")]


@bench_app.command()
def replay(turns: Turns = 7, json: Json = False) -> None:
    """What it costs to run a finished run of the paper's size again: the whole engine on a full cache.

    Measured against a bare loop of key, diskcache read and decoding over the same records. Takes half a minute.
    """
    show(bench.measure_replay(turns=turns), json=json)


@bench_app.command()
def lag(
    rate: Annotated[int, typer.Option(metavar="N", min=20, help="Fresh answers a second.")] = 1000,
    seconds: Annotated[float, typer.Option(metavar="NUMBER", min=0.5, help="For each row.")] = 5.0,
    json: Json = False,
) -> None:
    """How long the event loop is held while answers come in and are kept on disk."""
    show(bench.measure_lag(rate=rate, seconds=seconds), json=json)


@bench_app.command()
def makespan(
    replicas: Annotated[
        list[int] | None, typer.Option(metavar="N", min=1, help="Servers; may be repeated. Else 1, 4 and 16.")
    ] = None,
    tier: Annotated[
        list[int] | None, typer.Option(metavar="N", help="GPT-4o mini's usage tier: 1, 3 or 5; may be repeated.")
    ] = None,
    domains: Annotated[
        int, typer.Option(metavar="N", min=1, help="Runs at once in the last rows; 1 leaves these out.")
    ] = DOMAINS,
    draws: Annotated[
        int, typer.Option(metavar="N", min=1, help="Draws of the work, of which each cell is the mean.")
    ] = 1,
    json: Json = False,
) -> None:
    """How long a run of the paper's size takes on simulated servers, beside other schedules and a lower bound.

    On virtual time: the same figures on every machine. All cells take several minutes, most of them for the rows with
    several runs at once.
    """
    from metaspo.bench.makespan import REPLICAS, TIERS
    from metaspo.bench.servers.simulated_openai import GPT_4O_MINI

    with exit_on_user_error():
        unknown = set(tier or ()) - set(GPT_4O_MINI)
        if unknown:
            tiers = ", ".join(map(str, GPT_4O_MINI))
            raise ConfigError(f"--tier {min(unknown)}: there are figures for {tiers}")
    report = bench.measure_makespan(replicas=replicas or REPLICAS, tiers=tier or TIERS, domains=domains, draws=draws)
    show(report, json=json)


@bench_app.command()
def hanging(small: Small = False, json: Json = False) -> None:
    """What a run loses to calls that hang for ever (simulated): time and calls, beside the same run without any.

    On virtual time: the same figures on every machine. Takes some minutes, --small some seconds.
    """
    from metaspo.bench.savings import LOOPS, SMALL

    show(bench.measure_hanging(size=SMALL if small else LOOPS), json=json)


@bench_app.command()
def order(
    small: Small = False,
    seeds: Seeds = SEEDS,
    url: Annotated[str, typer.Option(metavar="URL", help="Try it on this server, not on simulated ones.")] = "",
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model's name on that server.")] = "",
    calls: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --url: at most so many, all orders together.")
    ] = LIVE_CALLS,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="With --url: calls in flight.")] = 64,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="With --url: upper bound of an answer.")] = 32,
    api_key_env: KeyVariable = "",
    json: Json = False,
) -> None:
    """In which order rows and candidates are best asked: early rejection against the server's prefix cache.

    On simulated servers it takes some minutes, --small some seconds. With --url it sends real requests to your own
    server, up to --calls of them.
    """
    from metaspo.bench.order import TooFewCalls
    from metaspo.bench.savings import LOOPS, SMALL
    from metaspo.running import run_async

    if not url:
        show(bench.measure_order(size=SMALL if small else LOOPS, seeds=seeds), json=json)
        return
    with exit_on_user_error():
        if not model:
            raise ConfigError("--url needs --model, the name of the model on that server")
        target = bench.LiveTarget(url=_checked(url), model=model, api_key=_api_key(api_key_env), max_tokens=max_tokens)
        try:
            report = run_async(bench.measure_order_live(target, concurrency=concurrency, calls=calls))
        except TooFewCalls as error:
            raise ConfigError(f"--calls {calls}: {error}") from None
    show(report, json=json)


@bench_app.command()
def overhead(
    calls: Annotated[int, typer.Option(metavar="N", min=100, help="Calls of each client in each turn.")] = 4000,
    turns: Turns = 5,
    peers_python: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A Python with litellm, dspy, gepa or promptolution, to measure them too."),
    ] = None,
    json: Json = False,
) -> None:
    """CPU time that one call costs the client: metaspo's whole gateway beside bare aiohttp and other clients.

    On one fast local server, 64 calls in flight. Takes a minute or two, and longer with --peers-python (they need a
    Python of their own, since they want other versions of shared packages).
    """
    show(bench.measure_overhead(calls=calls, turns=turns, peers_python=peers_python, tell=say_note), json=json)


@bench_app.command()
def programs(
    examples: Annotated[int, typer.Option(metavar="N", min=10, help="Programs in each turn.")] = 400,
    turns: Turns = 7,
    json: Json = False,
) -> None:
    """CPU time of a call that a program makes: programs of five steps beside five times as many plain calls.

    On one fast local server, 64 calls in flight. Takes half a minute.
    """
    show(bench.measure_programs(examples=examples, turns=turns), json=json)


@bench_app.command()
def limits(json: Json = False) -> None:
    """How much of a rate limit is used without a refusal, and whether `auto` finds the best concurrency.

    Against simulated servers on virtual time: the same figures on every machine. Takes a minute or two.
    """
    show(bench.measure_limits(), json=json)


@bench_app.command()
def startup(
    turns: Turns = 5,
    command: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="One that begins so; may be repeated. Else all.")
    ] = None,
    json: Json = False,
) -> None:
    """How soon each command begins: CPU and time of processes to their end, to their help, or to their first request.

    Takes two minutes or three.
    """
    with exit_on_user_error():
        report = bench.measure_startup(helps=tuple(COMMANDS), turns=turns, only=command or ())
    show(report, json=json)


@bench_app.command()
def scale(
    full: Annotated[bool, typer.Option("--full", help="Also a million evaluations, which takes minutes.")] = False,
    json: Json = False,
) -> None:
    """Whether time per evaluation and memory stay flat: runs of some 1,000 to 100,000 evaluations."""
    show(bench.measure_scale((1_000, 10_000, 100_000, 1_000_000) if full else (1_000, 10_000, 100_000)), json=json)


@bench_app.command()
def requests(
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also a million requests: five to fifteen minutes, 1 GB in the folder for temporary files."
        ),
    ] = False,
    stored: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Instead: a stream on a cache that holds so many answers already; may be repeated. Ten million take "
            "ten minutes and 7 GB in the folder for temporary files.",
        ),
    ] = None,
    turns: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --stored: measurements of each cache, else 5.")
    ] = None,
    json: Json = False,
) -> None:
    """Whether the gateway's own time per fresh request and memory stay flat: 10,000 and 100,000 requests through one.

    On a model that answers at once, kept on disk and not at all, in a stream and in one batch. Takes about a
    minute.
    """
    from metaspo.bench.requests import FULL, REQUESTS

    with exit_on_user_error():
        if full and stored:
            raise ConfigError("--full begins with empty caches, --stored does not: give one of both")
        if turns and not stored:
            raise ConfigError("--turns needs --stored, how many answers a cache holds already")
    if stored:
        show(bench.measure_stored(stored, turns=turns or 5), json=json)
        return
    show(bench.measure_requests(FULL if full else REQUESTS), json=json)


@bench_app.command(cls=NamedArguments)
def live(
    url: Annotated[str, typer.Argument(metavar="URL", help="Base URL, e.g. http://127.0.0.1:8000/v1.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model's name on the server.")],
    calls: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many calls, all levels together.")] = 400,
    concurrency: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="A level to try; may be repeated. Else 1, 4, 16 and 64."),
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(metavar="N", min=32, help="Length of a prompt, about.")] = 250,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Upper bound of an answer.")] = 32,
    api_key_env: KeyVariable = "",
    input_price: Annotated[
        float | None, typer.Option(metavar="DOLLARS", min=0, help="Per million prompt tokens.")
    ] = None,
    output_price: Annotated[float, typer.Option(metavar="DOLLARS", min=0, help="Per million answer tokens.")] = 0.0,
    dollars_per_hour: Annotated[
        float | None, typer.Option(metavar="DOLLARS", min=0, help="What the server costs as it runs.")
    ] = None,
    json: Json = False,
) -> None:
    """Your own server: speed, cost, and which concurrency to set.

    Throughput, latency, prefix-cache hits and cost at several concurrencies. Sends real requests, up to --calls of
    them. What is paid by token costs money.
    """
    from metaspo.running import run_async
    from metaspo.scheduling import Prices

    with exit_on_user_error():
        prices = None
        if input_price is not None:
            prices = Prices(input=input_price, cached=input_price, output=output_price)
        target = bench.LiveTarget(
            url=_checked(url),
            model=model,
            api_key=_api_key(api_key_env),
            prices=prices,
            dollars_per_hour=dollars_per_hour,
            prompt_tokens=prompt_tokens,
            max_tokens=max_tokens,
        )
        report = run_async(bench.measure_live(target, levels=concurrency or (1, 4, 16, 64), calls=calls))
    show(report, json=json)


def _checked(url: str) -> str:
    """The same URL. Raises `ConfigError` if it is none of a server; one that may hold a password is not repeated."""
    try:
        parse_base_url(url)
    except ValueError as error:
        raise ConfigError(str(error) if "@" in url else f"{url}: {error}") from None
    return url


def _api_key(name: str) -> str | None:
    """The key in that environment variable; None without a name. Raises `ConfigError` if it is not there."""
    if not name:
        return None
    key = environment_with_dotenv(Path()).get(name, "").strip()
    if not key:
        raise ConfigError(f"{name} is not set: set it in the environment or in .env")
    return key
