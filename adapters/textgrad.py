"""metaspo as an engine of TextGrad: `textgrad.set_backward_engine(Engine("mine", client=client), override=True)`."""

from pathlib import Path

from textgrad.engine.base import EngineLM

from metaspo.adapters.chat import ChatModel, as_chat
from metaspo.scheduling import Client


class Engine(EngineLM):  # type: ignore[misc, unused-ignore] # TextGrad is not installed where the types are checked
    """Text for text. Its cache holds in every process, and every setting is part of the key."""

    def __init__(
        self,
        model: str,
        *,
        client: Client | str | Path,
        system_prompt: str = "You are a helpful, creative, and smart assistant.",
        **settings: object,
    ) -> None:
        """`settings` are fields of a chat's body: `temperature`, `max_tokens` …"""
        self.model_string = model
        self.system_prompt = system_prompt
        self._chat = ChatModel(model, client, settings)
        self._client, self._settings = client, settings

    def generate(self, content: str, system_prompt: str | None = None, **settings: object) -> str:
        """The text of an answer; `settings` win over the engine's. Raises `CallFailed`."""
        chat = self._chat
        if settings:
            chat = ChatModel(self.model_string, self._client, {**self._settings, **settings})
        return chat.text(as_chat(content, system=system_prompt or self.system_prompt))

    def __call__(self, content: str, system_prompt: str | None = None, **settings: object) -> str:
        """As `generate`."""
        return self.generate(content, system_prompt=system_prompt, **settings)
