"""What the models of a simulation say: the world's answers, for each sending of a request."""

from collections import Counter
from dataclasses import dataclass, replace

from world import JUDGE, SKILLS, World, fraction

from metaspo.backends import CONTENT_FILTER, Request, Usage
from metaspo.backends.chat.usage import estimate_usage

REFUSED_SHARE = 0.08
CUT_SHARE = 0.1  # of a judge's verdicts, but for those asked for the third time: nothing could be done then
ANOTHER = 1_000_003  # added to a world's seed, makes another world


@dataclass(frozen=True, slots=True)
class Said:
    """A whole answer, or that there will never be one."""

    text: str
    finish_reason: str
    usage: Usage
    refused: bool = False


class SimulatedWorld:
    """Answers requests; keeps everything that it has said.

    Attributes:
        said: by key, what each sending of a request was answered, or would have been.
    """

    def __init__(self, seed: int, *, malformed: float, unsteady: bool, refuses: bool) -> None:
        self.said: dict[str, list[Said]] = {}
        self._seed = seed
        self._malformed = malformed
        self._unsteady = unsteady
        self._refuses = refuses
        self._sent: Counter[str] = Counter()

    def say(self, request: Request, key: str, *, thinking: int = 0) -> Said:
        """The answer to one more sending of a request, with so many tokens of thinking where there is one."""
        said = self.answer(request, sending=self._sent[key])
        if said.text:
            usage = said.usage._replace(completion_tokens=said.usage.completion_tokens + thinking)
            said = replace(said, usage=usage)
        self._sent[key] += 1
        self.said.setdefault(key, []).append(said)
        return said

    def answer(self, request: Request, *, sending: int = 0) -> Said:
        """The answer to a request's sending, counted from 0; the same to all of them from a steady world."""
        world = World(self._seed + ANOTHER * sending * self._unsteady, malformed=self._malformed, firm=True)
        text = world.answer(request)
        if self._refuses:
            asked = "\n".join(message.content for message in request.messages)
            if any(skill in asked for skill in SKILLS):  # never the first prompts: nothing could be done then
                luck = fraction(str(self._seed), "refused", asked, str(request.draw))
                if luck < REFUSED_SHARE / 2:
                    return Said("", "", estimate_usage(request, ""), refused=True)
                if luck < REFUSED_SHARE:
                    return Said("", CONTENT_FILTER, estimate_usage(request, ""))
        if self._is_cut(request):
            key = "better" if '"better"' in request.messages[0].content else "score"
            text = f"It is close. As a {key}: {'tie' if key == 'better' else 1}"  # and then it would have gone on
            return Said(text, "length", estimate_usage(request, text))
        return Said(text, "stop", estimate_usage(request, text))

    def _is_cut(self, request: Request) -> bool:
        asked = [message.content for message in request.messages]
        is_judged = request.model == JUDGE["model"] and "<question>" in asked[0]
        return is_judged and len(asked) < 5 and fraction(str(self._seed), "cut", *asked) < CUT_SHARE
