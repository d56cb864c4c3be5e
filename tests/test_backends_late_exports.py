"""What a package hands on is imported when it is asked for, and stands there from then on."""

import sys
from pathlib import Path

import pytest

from metaspo.backends.late_exports import late_exports

PACKAGE = """
from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from {name}.inner import SOME as SOME

    from {name}.inner import other as other
else:
    __getattr__, __dir__ = late_exports(__name__)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of one that hands on two names of a module of its own."""
    name = f"late_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(PACKAGE.format(name=name), encoding="utf-8")
    (tmp_path / name / "inner.py").write_text("SOME, other, hidden = 1, 2, 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__(name)
    return name


def test_a_name_is_imported_with_the_first_who_asks_and_stands_there_for_the_next(package: str) -> None:
    made = sys.modules[package]
    get, names = late_exports(package)
    assert f"{package}.inner" not in sys.modules
    assert "SOME" not in vars(made)
    assert names() == sorted({*vars(made), "SOME", "other", "TYPE_CHECKING"})
    assert get("SOME") == 1
    assert vars(made)["SOME"] == 1
    assert (made.other, "hidden" in names()) == (2, False)


def test_a_name_that_is_not_handed_on_is_none_of_the_package(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'hidden'"):
        late_exports(package)[0]("hidden")
    assert not hasattr(sys.modules[package], "hidden")
