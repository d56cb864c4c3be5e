"""The `vllm` table of a model: how metaspo starts its servers."""

from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from metaspo.engine.config.table import Table

OURS: Final = {
    **dict.fromkeys(("--host", "--port", "--served-model-name"), "metaspo sets it itself, and counts on it"),
    **dict.fromkeys(("--tensor-parallel-size", "-tp"), "say tensor_parallel"),
    "--api-key": "metaspo makes one for each start, and a key itself never belongs in a config",
}


class VllmTable(Table):
    """How vLLM is started, where metaspo starts it."""

    command: tuple[str, ...] = Field(
        default=("vllm", "serve"),
        min_length=1,
        description='what starts it; the model goes where it says "{model}", or else to its end',
    )
    options: tuple[str, ...] = Field(default=(), description="further options of its command line")
    tensor_parallel: int = Field(default=1, ge=1, le=1_000, description="GPUs of one replica")
    replicas: int | None = Field(default=None, ge=1, le=1_000, description="at most so many; else as the GPUs allow")
    gpus: tuple[str, ...] = Field(
        default=(), description="as CUDA_VISIBLE_DEVICES names them; else what that holds, or all that nvidia-smi lists"
    )
    start_limit: float = Field(
        default=1800, gt=0, allow_inf_nan=False, description="seconds until it must answer, a download included"
    )

    @field_validator("gpus", mode="before")
    @classmethod
    def _may_be_numbers(cls, value: object) -> object:
        return [str(gpu) if type(gpu) is int else gpu for gpu in value] if isinstance(value, list | tuple) else value

    @field_validator("gpus")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not gpu or gpu == "-1" or not gpu.isprintable() or {*gpu} & {*", "} for gpu in value):
            raise ValueError("must hold the name of one GPU each, such as 0 or GPU-8f")
        if twice := next((gpu for gpu in value if value.count(gpu) > 1), ""):
            raise ValueError(f"names {twice} twice: a GPU is for one replica")
        return value

    @field_validator("options")
    @classmethod
    def _without_ours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for option in value:
            if (name := option.partition("=")[0].replace("_", "-")) in OURS:
                raise ValueError(f"must not hold '{name}': {OURS[name]}")
        return value

    @model_validator(mode="after")
    def _of_whole_replicas(self) -> Self:
        if self.gpus and len(self.gpus) < self.tensor_parallel:
            raise ValueError(f"gpus names {len(self.gpus)}, and tensor_parallel = {self.tensor_parallel} wants as many")
        return self
