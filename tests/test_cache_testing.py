"""The laws of a store can be run by those who write one, as the document says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "cache.md"
FORGETS_THE_SECOND = """
    async def put_many(self, entries):
        kept = await super().put_many(dict(list(entries.items())[:1]))
        return {**entries, **kept}
"""


def run_laws(folder: Path, code: str) -> str:
    """The last line that pytest says about a test module."""
    (folder / "test_my_store.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_document_s_example_passes_and_a_store_that_forgets_does_not(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    passed = re.match(r"(\d+) passed", run_laws(tmp_path, code))
    assert passed is not None
    assert int(passed[1]) > 10
    forgetful = code.replace("return MemoryStore()", "return Forgetful()")
    forgetful = forgetful.replace("class Test", f"class Forgetful(MemoryStore):{FORGETS_THE_SECOND}\n\nclass Test")
    assert "failed" in run_laws(tmp_path, forgetful)
