"""Configs and files of data, drawn: as people have them, with something in them that does not belong there."""

import csv
import io
import json
from collections.abc import Mapping
from random import Random

from fuzzing import JUNK, Json
from fuzzing_replies import mutated

VALUES = (
    *("0", "-1", "3", "1_000_000", "9223372036854775807", "9223372036854775808", "1" + "0" * 400, "0.5", "1e308"),
    *("nan", "inf", "-inf", "true", "false", '""', '" "', '"x"', '"none"', '"auto"', '"all"', '"merged"', '"best"'),
    *("[]", "{}", '[""]', '["x"]', '{x = "y"}', "[1, 2]", "[[]]", "1979-05-27T07:32:00Z", "07:32:00"),
    *(
        '"a/b"',
        '"../x"',
        '"run.toml"',
        '"a.train.jsonl"',
        '"nowhere.csv"',
        '"~nobody/x"',
        '"\\u0000"',
        f'"{"n" * 300}"',
    ),
    *(
        '"{question}"',
        '"{question}{question}"',
        '"{{question}}"',
        '"\\u001b[2J{question}"',
        '"é\\U0001F600 {question}"',
    ),
    *('"http://server.example/v1"', '["http://server.example/v1"]', '["http://"]', '["ftp://x"]', '["http://[::1"]'),
    *(
        '"redis://x:y/z"',
        '"http://x"',
        '"redis://127.0.0.1:1/0"',
        '"rediss://"',
        '["http://u:p@x/v1", "http://x:99999"]',
    ),
    *('[{url = "http://server.example", headers = {A = "$B"}}]', '[{url = ""}]', "{temperature = 1}", "{n = 2}"),
    *('"metaspo"', '"sprig"', '"ape"', '"opro"', '"evoprompt-ga"', '"protegi"', '"textgrad"', '"embedded"', '"file:x"'),
    *(
        '"accuracy"',
        '"macro-f1"',
        '"token-f1"',
        '"agreement"',
        '"json:dumps"',
        '"nowhere:x"',
        '"a.b"',
        '":"',
        '"run:x"',
    ),
    *('"letter"', '"integer"', '"label"', '"text"', '"number"', '"json"', '"tagged"', '"source"', '"target"'),
    *('{kind = "label", labels = ["yes"]}', '{kind = "label", tag = "<"}', '{kind = "letter"}', '{kind = "number"}'),
    *('{kind = "json", json_schema = {type = 3}}', '{kind = "text", gold_pattern = "(a+)+$"}', '{kind = "x:y"}'),
    *('{question = "{question} {answer}"}', '{answer = "a.b"}', '{choices = "question"}', '{without = ["("]}'),
    *('{dataset = "x"}', '{path = "a.train.jsonl", rows = 1}', '{path = "a.train.jsonl", part = "0-30%", group = "x"}'),
    *("{input = -1, output = 0}", "{input = 1e300, output = 1e300}", "{calls = 1}", '"local"', '"openai"'),
)
KEYS = (
    *("name", "seed", "iterations", "system_prompt", "roles", "redraws", "early_rejection", "racing", "cache", "runs"),
    *("cache_failure", "domain", "data", "base", "optimizer", "inner", "outer", "test", "budget", "tasks", "backend"),
    *("model", "endpoints", "api_key_env", "revision", "temperature", "top_p", "max_tokens", "token_limit_parameter"),
    *(
        "stop",
        "extra",
        "concurrency",
        "tier",
        "requests_per_minute",
        "tokens_per_minute",
        "requests_per_day",
        "patience",
    ),
    *("tokens_per_day", "time_limit", "attempts", "first_patience", "prices", "context", "threads", "strategy"),
    *("options", "candidates", "failures", "keep", "source", "baseline", "calls", "tokens", "dollars", "role", "train"),
    *(
        "columns",
        "train_size",
        "test_size",
        "sample",
        "max_question_chars",
        "answer",
        "metric",
        "user_prompt",
        "weight",
    ),
    *("", "x y", '"\\u0000"', "a.b.c", "method", "methods", "config", "seeds"),
)


COUNTS = ("0", "1", "2", "7", "1000", "1_000_000", "1" + "0" * 30, "-1")
SHARES = ("0", "0.05", "1", "1.5", "1e308", "1e-300", "nan", "-0.0")
STRATEGIES = (
    '"metaspo"',
    '"embedded"',
    '"sprig"',
    '"ape"',
    '"opro"',
    '"evoprompt-ga"',
    '"gepa"',
    '"mipro"',
    '"protegi"',
    '"textgrad"',
    '"x"',
)
FITTING: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "": {
        **dict.fromkeys(("seed", "iterations", "redraws"), COUNTS),
        "racing": SHARES,
        "name": ('""', '"x"', '"."', '"-"', '"x/y"', '"{}"'.format("n" * 250), '"é"'),
        "cache": ('""', '"a/b"', '"run.toml"', '"a.train.jsonl/x"', '"redis://127.0.0.1:1/0"', '"http://x"', '"$HOME"'),
        "runs": ('""', '"a/b"', '"run.toml"', '"a.train.jsonl/x"', '"~nobody/x"', '"."', '" "'),
        "system_prompt": ('"x"', '" "', '"{question}"', '"{{x}}"', '"\\u001b[2J"', '"{}"'.format("long " * 9_000)),
        "early_rejection": ("true", "false"),
        "cache_failure": ('"stop"', '"continue"'),
        "roles": ('"merged"', '"separate"'),
        "domain": ('"medical"', '["review", "x"]', "[]", '""'),
        "data": ('"huggingface"', '"nowhere"', '"."', "3"),
    },
    "[base]": {
        **dict.fromkeys(("max_tokens", "concurrency", "attempts", "tier", "requests_per_minute"), COUNTS),
        **dict.fromkeys(("tokens_per_minute", "requests_per_day", "tokens_per_day"), COUNTS),
        **dict.fromkeys(("temperature", "top_p", "time_limit", "patience", "first_patience"), SHARES),
        "endpoints": (
            '["http://a/v1", "http://b/v1"]',
            '["http://a?x=1#y"]',
            '["https://[::1]:99/"]',
            '["http://a b"]',
        ),
        "api_key_env": ('"NOT_SET"', '"sk-1"', '"PATH"'),
        "extra": ("{}", "{a = nan}", "{a = {b = [1, 1979-05-27]}}", "{n = 2}", "{a = 9223372036854775808}"),
        "stop": ('["</answer>"]', '[""]', '["a", "b"]'),
        "prices": ("{input = 0, output = 0}", "{input = 1e300, output = 1e300}", "{input = 1, cached = 9, output = 2}"),
        "backend": ('"openai"', '"local"'),
        "model": ('"x"', '"gpt-4o-mini"', '"a/b:c"', '"../x.gguf"', '"\\u001b[2J"'),
        "token_limit_parameter": ('"max_tokens"', '"max_completion_tokens"'),
        **dict.fromkeys(("context", "threads"), COUNTS),
    },
    "[inner]": {
        **dict.fromkeys(("candidates", "failures", "keep"), COUNTS),
        "strategy": STRATEGIES,
        "options": ("{}", "{steps = 2}", "{population = -1}", "{rounds = 1e9}", "{generations = 99999999}", "{x = 1}"),
    },
    "[outer]": {**dict.fromkeys(("candidates", "failures"), COUNTS), "strategy": STRATEGIES},
    "[test]": {"source": ('"kept"', '"best"', '"none"'), "baseline": ("true", "false")},
    "[budget]": {"calls": COUNTS, "tokens": COUNTS, "dollars": SHARES, "hours": SHARES},
    "[[tasks]]": {
        **dict.fromkeys(("train_size", "test_size", "max_question_chars"), (*COUNTS, '"all"')),
        "weight": SHARES,
        "metric": ('"macro-f1"', '"exact-match"', '"token-f1"', '"agreement"', '"json:dumps"', '"os:getpid"', '"x:y"'),
        "answer": ('"text"', '"letter"', '"number"', '"tagged"', '{kind = "label", labels = ["yes", "not yes", "no"]}'),
        "user_prompt": (
            '"{question}"',
            '"{{question}}"',
            '"{question} {x} {{"',
            '"{}"'.format("{question}" + "x" * 9_000),
        ),
        "test": (
            '"a.train.jsonl"',
            '"."',
            '{path = "a.train.jsonl", part = "0-50%", group = "question"}',
            '"run.toml"',
        ),
        "columns": (
            '{question = "{question} {question}"}',
            '{without = ["^.*$"]}',
            '{names = {yes = "no", no = "yes"}}',
        ),
        "sample": ('"head"', '"random"'),
        "role": ('"source"', '"target"'),
    },
}


def _set(lines: list[str], table: str, key: str, value: str) -> None:
    """Give a key of a table, which is made if there is none, a value in place of the one it has."""
    if table and table not in lines:
        lines.append(table)
    start = lines.index(table) + 1 if table else 0
    end = next((n for n in range(start, len(lines)) if lines[n].startswith("[")), len(lines))
    lines[start:end] = [line for line in lines[start:end] if line.partition("=")[0].strip() != key]
    lines.insert(start, f"{key} = {value}")


def mangled_config(text: str, rng: Random) -> bytes:
    """A config with some of its lines changed, doubled, moved or left out, or with bytes that are no text."""
    lines = text.splitlines()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        spot = rng.randrange(len(lines))
        key, equals, _ = lines[spot].partition("=")
        match rng.randrange(12):
            case 0:
                del lines[spot]
            case 1:
                lines.insert(rng.randrange(len(lines)), lines[spot])
            case 2:
                lines.insert(spot, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
            case 3:
                lines[spot] = lines[spot][: rng.randrange(len(lines[spot]) + 1)]
            case 4 | 5 if equals:
                lines[spot] = f"{key}= {rng.choice(VALUES)}"
            case _:  # a key where it belongs, with a value that may pass
                table = rng.choice(sorted(FITTING))
                key = rng.choice(sorted(FITTING[table]))
                _set(lines, table, key, rng.choice(FITTING[table][key]))
    return _mangled("\n".join(lines).encode(), rng)


def _mangled(content: bytes, rng: Random) -> bytes:
    """Mostly as it is; else in another encoding, cut off, or with a byte that does not belong there."""
    match rng.randrange(20):
        case 0:
            return content.decode("utf-8", "replace").encode(rng.choice(("utf-8-sig", "utf-16", "utf-32")))
        case 1:
            return content[: rng.randrange(len(content) + 1)]
        case 2:
            spot = rng.randrange(len(content) + 1)
            return (
                content[:spot]
                + rng.choice((b"\xff", b"\x00", b'"', b"\r", b"\xe2\x80\xa8", b"\x1b[2J"))
                + content[spot:]
            )
    return content


CELLS: tuple[Json, ...] = (
    *JUNK,
    *("yes", "no", "A", "(B)", "3/4", "-5", "1e6", "#### 72", "<answer>yes</answer>", "{question}", "{", '{"a": 1}'),
    *(
        "a,b",
        'he said "no"',
        "two\nlines",
        "tab\there",
        "nul\x00",
        "'",
        "a" * 140_000,
        ["yes", "no"],
        {"text": ["yes"]},
    ),
)


def data_file(kind: str, rng: Random) -> bytes:
    """A file of rows as people have them: columns missing, of other types, doubled; bytes that do not belong there."""
    rows: list[Json] = [{"question": f"number {n}", "answer": "yes" if n % 2 else "no"} for n in range(4)]
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        row = rng.choice(rows)
        match rng.randrange(6):
            case 0 if isinstance(row, dict):
                row.pop(rng.choice(("question", "answer")), None)
            case 1:
                rows.insert(rng.randrange(len(rows)), rng.choice(JUNK))
            case 2:
                rows.append(row)
            case _ if isinstance(row, dict):
                row[rng.choice(("question", "answer", "answer", "", "id"))] = rng.choice(CELLS)
    if kind == "jsonl":
        lines = [json.dumps(row, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass") for row in rows]
        return _mangled(b"\n".join(lines), rng)
    tables = [row for row in rows if isinstance(row, dict)]
    head = list(dict.fromkeys(name for row in tables for name in row))
    target = io.StringIO()
    writer = csv.writer(
        target, delimiter="," if kind == "csv" else "\t", lineterminator=rng.choice(("\n", "\n", "\r\n", "\r\n", "\r"))
    )
    writer.writerow(head)
    writer.writerows([row.get(name, "") for name in head][: rng.choice((9, 9, 9, 1))] for row in tables)
    return _mangled(target.getvalue().encode("utf-8", "surrogatepass"), rng)


ANSWERS: tuple[str, ...] = (
    '"text"',
    '"label"',
    '"letter"',
    '"integer"',
    '"number"',
    '"json"',
    '"tagged"',
    '{kind = "label", tag = true}',
)
ANSWERS += (
    '{kind = "label", labels = ["yes", "no"]}',
    '{kind = "text", unanswerable = true}',
    '{kind = "math"}',
    '{kind = "code"}',
)
ANSWERS += ('"labels"', '{kind = "labels", labels = ["yes", "no"], tag = true}')
ANSWERS += ('{kind = "text", gold_pattern = "#### (.+)"}', '{kind = "text", number_words = true}')
COLUMNS = (
    *("{}", '{question = "{question} {answer}"}', '{answer = "answer.text"}', '{choices = "answer"}'),
    *('{names = {yes = "A", no = "B"}}', '{either = {question = "yes", answer = "no"}}', '{without = ["n"]}'),
)


def mangled_record(name: str, content: bytes, rng: Random) -> bytes:
    """A file of a run's directory that somebody has edited, or a disk has broken."""
    if name.endswith(".jsonl"):
        lines = content.splitlines()
        spot = rng.randrange(len(lines))
        whole = json.dumps(mutated(json.loads(lines[spot]), rng)).encode()
        lines[spot] = whole if rng.random() < 0.8 else lines[spot][: rng.randrange(len(lines[spot]) + 1)]
        content = b"\n".join([*lines, b""])
    elif rng.random() < 0.8:
        content = json.dumps(mutated(json.loads(content), rng)).encode()
    return _mangled(content, rng)


PROMPTFOO: Json = {
    "description": "Even or not",
    "prompts": ["Is {{number}} even? {{ hint }}", {"raw": '[{"role": "user", "content": "{{number}}"}]'}],
    "providers": [{"id": "openai:chat:m", "config": {"apiBaseUrl": "http://x/v1", "max_tokens": 9}}, "openai:m"],
    "defaultTest": {"vars": {"hint": "Say."}, "assert": [], "metadata": {"task": "even"}},
    "tests": [
        {"vars": {"number": [1, "2"]}, "assert": [{"type": "equals", "value": "no"}]},
        {"vars": {"number": "4"}, "assert": [{"type": "icontains-any", "value": ["yes", "y"]}]},
    ],
}
PROGRAM: Json = {
    "answer.predict": {
        "signature": {
            "instructions": "Say whether it is even.",
            "fields": [
                {"prefix": "Question:", "description": "${question}"},
                {"prefix": "Answer:", "description": "${answer}"},
            ],
        },
        "demos": [{"question": "2?", "answer": "yes"}, {"question": "3?", "answer": "no"}],
    },
    "metadata": {"metaspo": {"system": "Be brief.", "user": "{question}", "task": "even"}},
}
CHAT: Json = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is {question} even?"}],
    "metadata": {"task": "even"},
}
OF_LANGFUSE: Json = {
    "type": "chat",
    "name": "even",
    "prompt": [{"role": "system", "content": "Be {brief}."}, {"role": "user", "content": "Is {{number}} even?"}],
    "config": {"model": "m"},
}
OF_LANGSMITH: Json = {
    "object": {
        "lc": 1,
        "id": ["langchain", "prompts", "chat", "ChatPromptTemplate"],
        "kwargs": {
            "metadata": {"task": "even"},
            "messages": [
                {"id": ["SystemMessage"], "kwargs": {"content": "Be {brief}."}},
                {"id": ["HumanMessagePromptTemplate"], "kwargs": {"prompt": {"kwargs": {"template": "Is {n} even?"}}}},
            ],
        },
    },
}
FOREIGN: Mapping[str, Json] = {
    "promptfooconfig.yaml": PROMPTFOO,
    "promptfooconfig.json": PROMPTFOO,
    "program.json": PROGRAM,
    "chat.json": CHAT,
    "langfuse.json": OF_LANGFUSE,
    "langsmith.json": OF_LANGSMITH,
    "user.even.txt": "Is {question} even?",
}


def foreign_file(name: str, rng: Random) -> bytes:
    """A file of another tool, of which some has been edited, or broken. JSON is YAML, too."""
    body = FOREIGN[name]
    if isinstance(body, str):
        return _mangled(
            rng.choice((body, f"{body}{rng.choice(JUNK)}", "", "{a} {b}", "{question}" * 2)).encode(
                "utf-8", "surrogatepass"
            ),
            rng,
        )
    for _ in range(rng.choice((1, 1, 2, 4))):
        body = mutated(body, rng)
    return _mangled(json.dumps(body).encode(), rng)
