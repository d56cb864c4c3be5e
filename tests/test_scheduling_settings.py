"""What a lane and a budget are told: what nothing could ever be asked under is refused when it is said."""

from typing import Any

import pytest
from numpy import float32, int64

from metaspo import Budget, LaneSettings, Prices


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": "8"},
        {"max_concurrency": 0},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"requests_per_day": "100"},
        {"tokens_per_day": float("nan")},
        {"attempts": 0},
        {"time_limit": 0},
        {"time_limit": float("nan")},
        {"patience": -1},
    ],
)
def test_a_lane_under_which_every_request_would_wait_for_ever_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"LaneSettings\({next(iter(wrong))}="):
        LaneSettings(**wrong)


def test_a_number_of_any_kind_is_one() -> None:
    numbers: dict[str, Any] = {"concurrency": int64(4), "attempts": int64(2), "time_limit": float32(30)}
    assert LaneSettings(**numbers) == LaneSettings(concurrency=4, attempts=2, time_limit=30)


@pytest.mark.parametrize("cap", ["calls", "tokens", "dollars"])
@pytest.mark.parametrize("value", [-1, "5", float("nan")])
def test_a_cap_is_a_number_from_zero_on(cap: str, value: Any) -> None:  # noqa: ANN401 - that is the point
    wrong, none = {cap: value}, dict[str, Any]({cap: 0})
    with pytest.raises(ValueError, match=rf"Budget\({cap}=.*give a number from 0 on"):
        Budget(**wrong)
    assert getattr(Budget(**none), cap) == 0


@pytest.mark.parametrize("price", ["input", "cached", "output"])
@pytest.mark.parametrize("value", [-1, "5", float("nan")])
def test_a_price_is_a_number_from_zero_on(price: str, value: Any) -> None:  # noqa: ANN401 - that is the point
    with pytest.raises(ValueError, match=rf"Prices\({price}="):
        Prices(**{"input": 1.0, "cached": 0.5, "output": 2.0, price: value})
