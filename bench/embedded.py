"""The same questions asked through a package, by its own client or by metaspo's adapter; `bench embed` runs it under a
Python that has the package.

Prints as JSON: CPU microseconds a question (of the whole process, imports apart), seconds, score. A score is what the
package itself says, or the share of the questions that were answered, in percent; all of them are answered rightly.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from metaspo.backends import OpenAICompatible
from metaspo.bench.in_flight import AT_ONCE, run_all
from metaspo.scheduling import Client, Lane, LaneSettings
from metaspo.scheduling.client.loop_thread import LoopThread

WARM_UP = 4  # questions before: packages import much at the first one
MODEL = "bench"
ANSWER = "yes"
WORDS = "Is the statement true? " * 40
SETTINGS: dict[str, Any] = {"temperature": 0.0, "max_tokens": 64}
Asking = Callable[[], float]  # all questions; returns the score


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked.

    Attributes:
        client: to ask through; None for the package's own.
        cache, per_minute: the client's folder and the limit that it is told, for what has a gateway of its own.
        opened: is closed when all was asked.
    """

    questions: list[str]
    url: str
    client: Client | None = None
    cache: str = ""
    per_minute: int | None = None
    opened: ExitStack = field(default_factory=ExitStack)

    @property
    def own(self) -> dict[str, str]:
        """What most packages' own clients are told."""
        return {"base_url": self.url, "api_key": "none"}

    def share(self, answered: int) -> float:
        """Percent."""
        return 100 * answered / len(self.questions)


def ask_dspy(work: Work) -> Asking:
    """`dspy.Evaluate` over a module of one call, without the work of DSPy's own adapters."""
    import dspy

    class Ask(dspy.Module):  # type: ignore[misc, unused-ignore] # DSPy is not installed where the types are checked
        def forward(self, question: str) -> object:
            return dspy.Prediction(answer=dspy.settings.lm(question)[0])

    run = dspy.Evaluate(
        devset=[dspy.Example(question=question).with_inputs("question") for question in work.questions],
        metric=lambda _row, said, trace=None: said.answer == ANSWER,
        num_threads=AT_ONCE,
        max_errors=len(work.questions) + 1,
        provide_traceback=False,
        display_progress=False,
    )
    if work.client is None:
        lm = dspy.LM(f"openai/{MODEL}", api_base=work.url, api_key="none", **SETTINGS)
    else:
        from metaspo.adapters.dspy import LM

        lm = LM(MODEL, client=work.client, **SETTINGS)
    dspy.configure(lm=lm, disable_history=True)
    return lambda: float(run(Ask()).score)


def ask_gepa(work: Work) -> Asking:
    """The default adapter's evaluation of one candidate."""
    from gepa.adapters.default_adapter.default_adapter import DefaultAdapter

    rows: Any = [{"input": question, "answer": ANSWER, "additional_context": {}} for question in work.questions]
    if work.client is None:
        adapter: Any = DefaultAdapter(f"openai/{MODEL}", max_litellm_workers=AT_ONCE)
    else:
        from metaspo.adapters.gepa import Adapter

        adapter = Adapter(MODEL, client=work.client, **SETTINGS)
    return lambda: work.share(sum(adapter.evaluate(rows, {"system": "Answer."}).scores))


def ask_inspect(work: Work) -> Asking:
    """An evaluation with its log."""
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate

    rows = [Sample(input=question, target=ANSWER) for question in work.questions]
    task = inspect_ai.Task(dataset=rows, solver=generate(), scorer=includes())
    config = GenerateConfig(max_connections=AT_ONCE, **SETTINGS)
    if work.client is None:
        model = get_model(f"openai-api/{MODEL}/{MODEL}", config=config, **work.own)
    else:
        model = get_model(f"metaspo/{MODEL}", config=config, client=work.client)

    def ask() -> float:
        (log,) = inspect_ai.eval(task, model=model, display="none", log_dir=os.environ["LOGS"], max_samples=AT_ONCE)
        if log.results is None:
            raise RuntimeError(str(log.error))
        return 100 * float(log.results.scores[0].metrics["accuracy"].value)

    return ask


def ask_langchain(work: Work) -> Asking:
    """A batch."""
    if work.client is None:
        from langchain_openai import ChatOpenAI

        model: Any = ChatOpenAI(model=MODEL, **work.own, **SETTINGS)
    else:
        from metaspo.adapters.langchain import ChatMetaspo

        model = ChatMetaspo(model=MODEL, client=work.client, **SETTINGS)

    def ask() -> float:
        said = model.batch(work.questions, config={"max_concurrency": AT_ONCE}, return_exceptions=True)
        return work.share(sum(getattr(each, "content", "") == ANSWER for each in said))

    return ask


def ask_litellm(work: Work) -> Asking:
    """`acompletion`, so many at once."""
    import litellm

    if work.client is not None:
        from metaspo.adapters.litellm import register

        register(work.client)
    call: dict[str, Any] = {"model": f"{'openai' if work.client is None else 'metaspo'}/{MODEL}", **SETTINGS}
    call |= {} if work.client is not None else work.own

    return lambda: asyncio.run(_completed(work, partial(litellm.acompletion, **call)))


def ask_openai(work: Work) -> Asking:
    """OpenAI's SDK at the server itself, or through `metaspo serve`, whose CPU is counted with the SDK's."""
    import openai

    url = work.url if work.client is None else _served(work)

    async def ask() -> float:
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            return await _completed(work, partial(client.chat.completions.create, model=MODEL, **SETTINGS))

    return lambda: asyncio.run(ask())


async def _completed(work: Work, complete: Callable[..., Awaitable[Any]]) -> float:
    """The share that is answered, so many in flight; what is refused in the end is an error of OpenAI's SDK."""
    import openai

    answered = 0

    async def ask(question: str) -> None:
        nonlocal answered
        with suppress(openai.OpenAIError):  # all of LiteLLM's are
            said = await complete(messages=[{"role": "user", "content": question}])
            answered += said.choices[0].message.content == ANSWER

    await run_all(ask, work.questions)
    return work.share(answered)


def _served(work: Work) -> str:
    """The address of a server in a thread of this process."""
    from metaspo.serving import ServeConfig, open_server

    limits = {"requests_per_minute": work.per_minute} if work.per_minute else {}
    model = {"model": MODEL, "endpoints": [work.url], "concurrency": AT_ONCE, **limits}
    config = ServeConfig.model_validate({"models": [model], "port": 0, "cache": work.cache})
    thread = LoopThread("serve")
    work.opened.callback(thread.stop)
    server = open_server(config, environment={})
    _, address = thread.run(server.__aenter__())
    work.opened.callback(lambda: thread.run(server.__aexit__(None, None, None)))
    return address


def ask_promptolution(work: Work) -> Asking:
    """A batch."""
    if work.client is None:
        from promptolution.llms.api_llm import APILLM

        model: Any = APILLM(api_url=work.url, model_id=MODEL, api_key="none", max_tokens=64)
    else:
        from metaspo.adapters.promptolution import LLM

        model = LLM(MODEL, client=work.client, **SETTINGS)
    return lambda: work.share(model.get_response(work.questions).count(ANSWER))


def ask_textgrad(work: Work) -> Asking:
    """One after the other, which is all that it does."""
    if work.client is None:
        from textgrad.engine.openai import ChatOpenAI

        engine: Any = ChatOpenAI(model_string=MODEL)
    else:
        from metaspo.adapters.textgrad import Engine

        engine = Engine(MODEL, client=work.client, **SETTINGS)
    return lambda: work.share(sum(engine(question) == ANSWER for question in work.questions))


ADAPTERS: dict[str, tuple[str, Callable[[Work], Asking]]] = {
    "dspy": ("dspy", ask_dspy),
    "gepa": ("gepa", ask_gepa),
    "inspect": ("inspect_ai", ask_inspect),
    "langchain": ("langchain_openai", ask_langchain),
    "litellm": ("litellm", ask_litellm),
    "openai": ("openai", ask_openai),
    "promptolution": ("promptolution", ask_promptolution),
    "textgrad": ("textgrad", ask_textgrad),
}


def measured(asking: Asking, questions: int) -> dict[str, float]:
    """What asking took; a package that gives up has answered nothing."""
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        score = asking()
    except Exception as error:  # noqa: BLE001 - whatever other people's packages give up with
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        score = 0.0
    return {
        "cpu": 1e6 * (time.process_time() - cpu) / questions,
        "seconds": time.perf_counter() - wall,
        "score": score,
    }


def main() -> None:
    """Without arguments: which packages there are. With them: adapter, whose client ("theirs" or "ours"), URL,
    questions, folder of the cache, requests per minute or 0."""
    if len(sys.argv) == 1:
        sys.stdout.buffer.write(orjson.dumps([name for name, (module, _) in ADAPTERS.items() if find_spec(module)]))
        return
    logging.disable(logging.CRITICAL)  # packages tell of each failed call
    name, whose, url, count, cache, per_minute = sys.argv[1:]
    questions = [f"{WORDS}{number}" for number in range(int(count))]
    limit, ask = int(per_minute) or None, ADAPTERS[name][1]
    with ExitStack() as opened:
        client = None
        if whose == "ours":
            settings = LaneSettings(concurrency=AT_ONCE, requests_per_minute=limit)
            lane = Lane(MODEL, [OpenAICompatible(url)], settings)
            client = opened.enter_context(Client([lane], cache=Path(cache)))
        work = Work([f"{WORDS}warm-up {number}" for number in range(WARM_UP)], url, client, cache, limit, opened)
        measured(ask(work), WARM_UP)
        figures = measured(ask(replace(work, questions=questions)), len(questions))
    sys.stdout.buffer.write(b"\n" + orjson.dumps(figures) + b"\n")


if __name__ == "__main__":
    main()
