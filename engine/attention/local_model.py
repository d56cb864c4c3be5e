"""A model on this machine, run by transformers, whose attention is seen token by token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from metaspo.backends import Message
from metaspo.engine.attention.measure import Shares
from metaspo.engine.errors import ConfigError


class LocalModel:
    """Any causal language model of transformers with a chat template and a fast tokenizer."""

    def __init__(self, name: str) -> None:
        """`name`: a folder, or a model of the hub. Raises `ConfigError` where it cannot be loaded."""
        transformers_logging.disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            self._model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="eager").eval()
        except (OSError, ValueError) as error:
            raise ConfigError(f"--model {name}: cannot be loaded: {str(error).splitlines()[0]}") from error
        if not self._tokenizer.is_fast or not self._tokenizer.chat_template:
            raise ConfigError(
                f"--model {name}: its tokenizer has no chat template, or does not tell where a token stands"
            )

    def shares(self, messages: Sequence[Message], *, system: str, tokens: int) -> Shares:
        """See `Attender`. Raises `ConfigError` where the template does not hold the prompts as they are."""
        prompt, places = self._rendered(messages, system)
        ids = prompt["input_ids"]
        start = ids.shape[1] - 1
        with torch.inference_mode():
            past = self._model(input_ids=ids[:, :start], use_cache=True).past_key_values if start else None
            steps = self._steps(ids[:, start:], past, tokens)
        sums = [np.mean([step[:, :, place].sum(-1).double().numpy() for step in steps], axis=0) for place in places]
        return Shares(system=sums[0], user=sums[1], length=len(places[0]) / ids.shape[1])

    def _steps(self, token: Any, past: Any, tokens: int) -> list[Any]:  # noqa: ANN401 - tensors
        """Of each token of a greedy answer, what the one before it attended to: layer x head x position."""
        ends = _ends(self._model.generation_config.eos_token_id, self._tokenizer.eos_token_id)
        steps: list[Any] = []
        while len(steps) < tokens:
            out = self._model(input_ids=token, past_key_values=past, use_cache=True, output_attentions=True)
            steps.append(torch.stack([layer[0, :, -1] for layer in out.attentions]))
            token, past = out.logits[:, -1:].argmax(-1), out.past_key_values
            if int(token) in ends:
                break
        return steps

    def _rendered(self, messages: Sequence[Message], system: str) -> tuple[Any, tuple[list[int], list[int]]]:
        """The chat as tokens, and the positions of those within the system prompt, and within what follows it."""
        told = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:  # mostly since there is no system role: the run then had roles = "merged"
            raise ConfigError(f"the model's chat template refuses the prompts: {error}") from error
        user = messages[-1].content.removeprefix(system).strip()
        spans, start = [], 0
        for part in (system.strip(), user):
            start = text.find(part, start)
            if start < 0:
                raise ConfigError("the model's chat template changes the text of the prompts, so that it is not found")
            spans.append((start, start + len(part)))
            start += len(part)
        prompt = self._tokenizer(text, return_tensors="pt", return_offsets_mapping=True, add_special_tokens=False)
        offsets = prompt["offset_mapping"][0].tolist()
        system_at, user_at = (
            [at for at, (begins, stops) in enumerate(offsets) if begins < end and stops > begin] for begin, end in spans
        )
        return prompt, (system_at, user_at)


def _ends(*given: Any) -> set[int]:  # noqa: ANN401 - a number, several, or none
    ids = set()
    for each in given:
        ids |= set(each) if isinstance(each, list) else {each} if each is not None else set()
    return ids
