"""Fixed system prompts: by name, and from a file."""

from pathlib import Path

import pytest

from metaspo.engine.config.baselines import baseline_prompt, read_prompt_file
from metaspo.engine.errors import ConfigError
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT, check_system_prompt


def test_every_baseline_is_a_usable_prompt_of_its_own() -> None:
    prompts = [check_system_prompt(baseline_prompt(name)) for name in ("default", "cot", "service")]
    assert len(set(prompts)) == len(prompts)
    assert all(prompt == prompt.strip() for prompt in prompts)


def test_the_default_is_that_of_the_config() -> None:
    assert baseline_prompt("default") == DEFAULT_SYSTEM_PROMPT


def test_a_mistyped_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"no baseline prompt 'servce' \(did you mean 'service'\?\); known: default"):
        baseline_prompt("servce")


def test_a_file_s_prompt_is_its_text_without_blank_lines_around_it(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes("\ufeff\n Sei höflich.\n\nUnd kurz.\n\n".encode())
    assert read_prompt_file(file) == "Sei höflich.\n\nUnd kurz."


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no such file"),
        (b"  \n", "must not be empty"),
        (b"Answer {question}", "must not hold"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line_with_its_name(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    file = tmp_path / "prompt.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_prompt_file(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_prompt(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompt_file(tmp_path)
