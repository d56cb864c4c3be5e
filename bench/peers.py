"""Other people's clients sending the same chat requests; runs by itself, under a Python that has them.

    python peers.py NAME URL CALLS

They want other versions of shared packages than metaspo, so nothing of metaspo is imported here. Prints the
microseconds of CPU and of wall time per call as JSON; `python peers.py` alone prints the names of those installed.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec

AT_ONCE = 64
WARM_UP = 128
Messages = list[dict[str, str]]
Batch = Callable[[list[Messages]], object]
FILLER = "the river bends twice before it meets the old stone bridge where carts once waited for the morning bell " * 6


def make_messages(count: int, start: int) -> list[Messages]:
    """Chats of about 1.2 KB, no two alike."""
    return [
        [
            {"role": "system", "content": FILLER[:600]},
            {"role": "user", "content": f"Statement {number}: {FILLER[:480]}"},
        ]
        for number in range(start, start + count)
    ]


def run_all(ask: Callable[[Messages], Awaitable[object]]) -> Batch:
    """Send all, `AT_ONCE` in flight, in one event loop that stays."""
    loop = asyncio.new_event_loop()

    async def all_of(chats: list[Messages]) -> None:
        rest = iter(chats)

        async def worker() -> None:
            for chat in rest:
                await ask(chat)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    return lambda chats: loop.run_until_complete(all_of(chats))


def litellm(url: str) -> Batch:
    """litellm's acompletion."""
    import litellm as module  # type: ignore[import-not-found,unused-ignore]

    async def ask(chat: Messages) -> object:
        answer: object = await module.acompletion(
            model="openai/bench", api_base=url, api_key="none", messages=chat, max_tokens=64, num_retries=0
        )
        return answer

    return run_all(ask)


def dspy(url: str) -> Batch:
    """DSPy's evaluation loop: `Evaluate` over a `Predict`, as many threads as calls in flight, its cache off."""
    import dspy as module  # type: ignore[import-not-found,unused-ignore]

    class Plain(module.ChatAdapter):  # type: ignore[misc,name-defined,unused-ignore]
        """Takes the answer as it is: the fast server says the same to everyone."""

        def parse(self, signature: object, completion: str) -> dict[str, str]:
            return {"answer": completion}

    model = module.LM("openai/bench", api_base=url, api_key="none", max_tokens=64, cache=False, num_retries=0)
    module.configure(lm=model, adapter=Plain())

    def batch(chats: list[Messages]) -> object:
        examples = [module.Example(question=chat[-1]["content"]).with_inputs("question") for chat in chats]
        evaluate = module.Evaluate(
            devset=examples, metric=lambda *_: 1.0, num_threads=AT_ONCE, display_progress=False, max_errors=1
        )
        return evaluate(module.Predict("question -> answer"))

    return batch


def gepa(url: str) -> Batch:
    """GEPA's default adapter evaluating a batch."""
    from gepa.adapters.default_adapter.default_adapter import (  # type: ignore[import-not-found,unused-ignore]
        DefaultAdapter,
    )

    os.environ["OPENAI_API_KEY"] = "none"
    os.environ["OPENAI_BASE_URL"] = os.environ["OPENAI_API_BASE"] = url
    adapter = DefaultAdapter(model="openai/bench", max_litellm_workers=AT_ONCE)

    def batch(chats: list[Messages]) -> object:
        rows = [{"input": chat[-1]["content"], "additional_context": {}, "answer": "yes"} for chat in chats]
        answers: object = adapter.evaluate(rows, {"system_prompt": chats[0][0]["content"]})
        return answers

    return batch


def promptolution(url: str) -> Batch:
    """promptolution's API model."""
    from promptolution.llms.api_llm import APILLM  # type: ignore[import-not-found,unused-ignore]

    model = APILLM(api_url=url, model_id="bench", api_key="none", max_concurrent_calls=AT_ONCE, max_tokens=64)

    def batch(chats: list[Messages]) -> object:
        answers: object = model.get_response(
            [chat[-1]["content"] for chat in chats], system_prompts=[chat[0]["content"] for chat in chats]
        )
        return answers

    return batch


PEERS = {"litellm": litellm, "DSPy": dspy, "GEPA": gepa, "promptolution": promptolution}
NEEDS = {"litellm": "litellm", "DSPy": "dspy", "GEPA": "gepa", "promptolution": "promptolution"}


def main() -> None:
    """Measure the peer that the arguments name, or list those installed."""
    if len(sys.argv) == 1:
        sys.stdout.write(json.dumps([name for name in PEERS if find_spec(NEEDS[name]) is not None]))
        return
    name, url, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    stdout = os.dup(1)
    os.dup2(2, 1)  # what peers print does not belong into our output
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet when it is imported
    batch = PEERS[name](url)
    batch(make_messages(WARM_UP, 0))
    cpu, wall = time.process_time(), time.perf_counter()
    batch(make_messages(calls, WARM_UP))
    figures = {
        "cpu": 1e6 * (time.process_time() - cpu) / calls,
        "wall": 1e6 * (time.perf_counter() - wall) / calls,
    }
    os.write(stdout, json.dumps(figures).encode())


if __name__ == "__main__":
    main()
