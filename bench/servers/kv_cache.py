"""A model of vLLM's KV cache: blocks of tokens, reused where a prompt begins as an earlier one did.

A prompt is cut into whole blocks, each known by its own text and all before it. A running request holds its blocks; the
blocks of a finished one stay, unheld, until room is needed: then the one longest unused goes first, and of one prompt
the last block before the first (as in vLLM's block manager), so no block is ever there without those before it.
"""

from collections import OrderedDict
from collections.abc import Sequence


def block_keys(text: str, *, block_chars: int) -> tuple[int, ...]:
    """Keys of the whole blocks of a prompt: equal exactly where two prompts begin alike (but for 64-bit collisions)."""
    keys = []
    key = 0
    for start in range(0, len(text) - block_chars + 1, block_chars):
        key = hash((key, text[start : start + block_chars]))
        keys.append(key)
    return tuple(keys)


class KVCache:
    """So many blocks, held by running requests or kept from finished ones.

    Attributes:
        held: blocks that running requests hold, counted once each; nameless ones (answers, last parts) included.
        hit: prompt blocks found.
    """

    __slots__ = ("_holders", "_unheld", "blocks", "held", "hit")

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.held = 0
        self.hit = 0
        self._holders: dict[int, int] = {}
        self._unheld: OrderedDict[int, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<KVCache held={self.held} kept={len(self._unheld)} of {self.blocks}>"

    def take(self, keys: Sequence[int], *, nameless: int) -> int | None:
        """Hold a prompt's blocks and so many nameless ones; returns how many were there already, None if all will not
        fit now."""
        cached = 0
        for key in keys:
            if key not in self._holders and key not in self._unheld:
                break
            cached += 1
        unheld_found = sum(key not in self._holders for key in keys[:cached])
        new = len(keys) - cached + nameless
        if self.held + unheld_found + new > self.blocks:
            return None
        for key in keys:
            self._unheld.pop(key, None)
            self._holders[key] = self._holders.get(key, 0) + 1
        self.held += unheld_found + new
        while self.held + len(self._unheld) > self.blocks:
            self._unheld.popitem(last=False)
        self.hit += cached
        return cached

    def give_back(self, keys: Sequence[int], *, nameless: int) -> None:
        """Let go of what `take` held."""
        self.held -= nameless
        for key in reversed(keys):
            holders = self._holders[key] - 1
            if holders:
                self._holders[key] = holders
            else:
                del self._holders[key]
                self._unheld[key] = None
                self.held -= 1
