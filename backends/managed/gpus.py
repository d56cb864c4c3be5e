"""Which GPUs there are, and which of them a replica gets."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_LOOK_LIMIT: Final = 30.0  # seconds that nvidia-smi gets: on a cold driver it takes some


def gpus_there(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs that we may use, named as CUDA_VISIBLE_DEVICES does: those it holds, else all that nvidia-smi lists."""
    if (visible := environment.get(VISIBLE)) is not None:
        names = [name.strip() for name in visible.split(",")]
        ends = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))  # for CUDA, too
        return tuple(names[:ends])
    tool = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if tool is None:
        return ()
    try:
        listed = subprocess.run(  # noqa: S603 - found on the PATH
            [tool, "-L"], capture_output=True, errors="replace", timeout=_LOOK_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())  # parts of a GPU are indented
    return tuple(map(str, range(count if listed.returncode == 0 else 0)))


def share_out(gpus: Sequence[str], *, each: int) -> tuple[tuple[str, ...], ...]:
    """The GPUs of each replica, `each` of them; what is left over is nobody's. One replica without any where there are
    none and none is asked for by number. Raises `ValueError` where there are too few."""
    if not gpus and each == 1:
        return ((),)
    if len(gpus) < each:
        raise ValueError(f"tensor_parallel = {each} wants as many GPUs, and there are {len(gpus)} here")
    return tuple(tuple(gpus[start : start + each]) for start in range(0, len(gpus) - each + 1, each))
