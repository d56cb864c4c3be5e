"""What a model that has run away writes is read in no time: a reader must not hold up the event loop."""

import pytest

from metaspo.engine.tasks import AnswerSpec, build_format

pytestmark = pytest.mark.timeout(20)  # milliseconds each; far more where a reader is quadratic
LENGTH = 20_000
TEXTS = {
    "spaces": "answer is x" + " " * LENGTH + "y",
    "stars": "answer is x" + "*" * LENGTH + "y",
    "stops": "answer is x" + "." * LENGTH + "y",
    "blank lines": "answer is" + "\n" * LENGTH,
    "opened": "\\(" * (LENGTH // 2),
    "displayed": "\\[" * (LENGTH // 2),
    "dollar": "$" + " " * LENGTH,
    "cased": "\\(" + " " * LENGTH,
    "nested": "\\(" * (LENGTH // 4) + "x" + "\\)" * (LENGTH // 4),
    "fence": "```json" + "\n" * LENGTH,
}


@pytest.mark.parametrize("kind", ["math", "json"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_degenerate_answer_is_read_in_no_time_that_anybody_notices(kind: str, text: str) -> None:
    answer = build_format(AnswerSpec(kind=kind)).parse(text)
    assert answer is None or len(answer) <= LENGTH + 20
