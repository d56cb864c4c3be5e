"""metaspo as a language model of promptolution: `LLM("mine", client=client)`; each batch is handed over whole."""

from pathlib import Path

from promptolution.llms.base_llm import BaseLLM

from metaspo.adapters.chat import ChatModel, as_chat
from metaspo.scheduling import CallFailed, Client


class LLM(BaseLLM):  # type: ignore[misc, unused-ignore] # promptolution is not installed where the types are checked
    """Texts for prompts, with the tokens that the server counted. A prompt without an answer fails its batch when all
    others of it are kept; run again, it asks for what is missing."""

    def __init__(self, model: str, *, client: Client | str | Path, **settings: object) -> None:
        """`settings` are fields of a chat's body: `temperature`, `max_tokens` …"""
        super().__init__()
        self._model, self._client, self._settings = model, client, settings
        self._chat = ChatModel(model, client, settings)

    def set_generation_seed(self, seed: int) -> None:
        """The seed of all that is asked from now on."""
        self._chat = ChatModel(self._model, self._client, {**self._settings, "seed": seed})

    def update_token_count(self, inputs: list[str], outputs: list[str]) -> None:
        """Nothing: the server's own counts are taken, and not words."""

    def _get_response(self, prompts: list[str], system_prompts: list[str]) -> list[str]:
        chats = [as_chat(prompt, system=system) for prompt, system in zip(prompts, system_prompts, strict=True)]
        texts = []
        for answer in self._chat.answers(chats):
            if isinstance(answer, CallFailed):
                raise answer
            self.input_token_count += answer.usage.prompt_tokens
            self.output_token_count += answer.usage.completion_tokens
            texts.append(answer.text)
        return texts
