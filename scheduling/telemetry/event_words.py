"""What a lane does, in words for people."""

from metaspo.scheduling.events import (
    BudgetReached,
    ConcurrencyChanged,
    Doubted,
    EndpointDown,
    EndpointUp,
    Event,
    HeldBack,
    LaneAnswers,
    LaneGaveUp,
    LimitsLearned,
    Retried,
    Waiting,
)


def sentence_of(event: Event) -> str:
    """The event as a sentence without its full stop."""
    match event:
        case EndpointDown():
            named = event.reason.startswith(event.endpoint)
            return event.reason if named else f"{event.endpoint} does not answer: {event.reason}"
        case EndpointUp():
            return f"{event.endpoint} answers again"
        case Waiting():
            why = f" ({event.reason})" if event.reason else ""
            tries = f", or until a request has failed {event.attempts} times" if event.attempts > 1 else ""
            return f"no server of the {event.lane} model answers{why}; waiting up to {event.patience:.0f} s{tries}"
        case HeldBack():
            return f"calls to the {event.lane} model are held back for {event.wait:.0f} s: {event.reason}"
        case LaneGaveUp():
            return f"nothing more is asked of the {event.lane} model{'' if event.final else ' for now'}: {event.reason}"
        case LaneAnswers():
            return f"the {event.lane} model answers again"
        case BudgetReached():
            return f"{event.account or 'an account'} is at its cap: {event.reason}"
        case Retried():
            return f"a call is tried again in {event.wait:.1f} s (try {event.attempt + 1}): {event.reason}"
        case Doubted():
            return f"it is found out whether the {event.lane} model's server answers at all"
        case ConcurrencyChanged():
            return (
                f"calls in flight to the {event.lane} model: at most {event.after} from now on ({event.before} before)"
            )
        case LimitsLearned():
            requests, tokens = event.requests_per_minute, event.tokens_per_minute
            return f"limits of the {event.lane} model in a minute: {requests} requests, {tokens} tokens"
    return type(event).__name__
