"""Lay out `.types/metaspo` as links to the folders of the tree, so that type checkers see the installed package."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("adapters", "backends", "bench", "cache", "engine", "scheduling", "serving")


def main() -> None:
    """Make the links anew; idempotent."""
    package = ROOT / ".types" / "metaspo"
    package.mkdir(parents=True, exist_ok=True)
    for old in package.iterdir():
        old.unlink()
    for folder in FOLDERS:
        (package / folder).symlink_to(ROOT / folder)
    for path in (ROOT / "metaspo").iterdir():
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path)


if __name__ == "__main__":
    main()
