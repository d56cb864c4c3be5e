"""What stands behind "Wait, …" takes an answer's place only where it is given as one."""

import pytest

from metaspo.engine.tasks import Integer, Label, Number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 7. Let me recap: Tom had 3 apples and got 4 more.", "7"),
        ("The answer is 12. Wait, let me verify by computing 15 percent of 80: that's 12.", "12"),
        ("The answer is 42. Sorry, I can only show 3 steps.", "42"),
        ("Answer: 18\n\nActually, the second step was 9 eggs.", "18"),
        ("#### 18\nLet me review: Janet has 16 eggs.", "18"),
        ("The answer is 7. Let me recheck: 3 + 4 = 8.", None),
        ("5. Wait, 6. Sorry, 7.", "7"),
    ],
)
def test_an_announced_number_stays_unless_another_takes_its_place(text: str, answer: str | None) -> None:
    assert Number().parse(text) == answer


def test_a_label_that_is_merely_spoken_of_replaces_none() -> None:
    labels = Label(("positive", "negative"))
    spoken = "The sentiment is positive.\n\nActually, it is only the first sentence that is negative."
    assert labels.parse(spoken) is None
    assert labels.parse("Positive. Let me recap: the review is not bad, though negative words occur.") == "positive"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["-", "\n", " -", "- ", "?\n"])
def test_a_run_of_marks_behind_a_correction_is_read_in_linear_time(piece: str) -> None:
    assert Integer().parse("wait" + piece * 20_000 + "x") is None
