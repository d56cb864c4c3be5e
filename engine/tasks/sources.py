"""Readers of tables: JSON Lines, CSV, Parquet, Hugging Face datasets. Every bad line is reported with its number."""

import codecs
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from metaspo.backends.paths import NO_FILE, why_no_file
from metaspo.engine.tasks.cells import Row, Unreadable
from metaspo.engine.tasks.data_spec import DataSource
from metaspo.engine.tasks.delimited import delimited_rows
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.selection import selected
from metaspo.engine.tasks.shown import shown as quoted

_BATCH: Final = 1_000


def read_rows(source: DataSource, *, base_dir: Path) -> Iterator[Row]:
    """The rows that a source asks for, of a file, by its ending, or of a dataset. Raises `TaskError`.

    Relative paths start at `base_dir`. Rows are named after the path as the config writes it, so that a run reads the
    same on another machine.
    """
    return selected(_all_rows(source, base_dir), source)


def _all_rows(source: DataSource, base_dir: Path) -> Iterator[Row]:
    if source.given is not None:
        return (Row(f"row {number}", row) for number, row in enumerate(source.given, 1))
    if source.path is None:
        return _read_dataset(source, base_dir)
    path = base_dir / Path(source.path).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError(f"{path}: cannot read files of this kind; use {', '.join(_READERS)}")
    if why := why_no_file(path):
        whole = "" if path.is_absolute() else f", so this is {path.absolute()}"
        where = f" (relative paths start at the config file's folder{whole})" if why == NO_FILE else ""
        raise TaskError(f"{path}: {why}{where}")
    if source.delimiter is not None:
        return _delimited(path, source.path, source.delimiter)
    return reader(path, source.path)


def _read_jsonl(path: Path, shown: str) -> Iterator[Row]:
    # Read as bytes: only "\n" ends a line there, whatever line separators the texts hold.
    for number, raw in enumerate(_lines(path), 1):
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        if line.strip():
            yield _json_row(line, f"{shown}:{number}")


def _json_row(line: bytes, where: str) -> Row:
    try:
        return Row(where, _json_object(line, where))
    except TaskError as fault:
        return Row(where, {}, str(fault))


def _json_object(line: bytes, where: str) -> Mapping[str, object]:
    try:
        value: object = json.loads(line.rstrip().decode(), parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
    except UnicodeDecodeError:
        raise TaskError(f"{where}: not UTF-8 text; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise TaskError(f'{where}: not a JSON object; write {{"question": …, "answer": …}} on every line')
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {quoted(twice)} stands there twice")
    return value


def _delimited(path: Path, shown: str, delimiter: str) -> Iterator[Row]:
    return delimited_rows(_lines(path), shown, delimiter)


def _read_parquet(path: Path, shown: str) -> Iterator[Row]:
    parquet = _optional("pyarrow.parquet", f"{shown}: reading Parquet files")
    try:
        with parquet.ParquetFile(path) as table:
            rows = (row for batch in table.iter_batches() for row in _rows_in(batch))
            for number, row in enumerate(rows, 1):
                yield Row(f"{shown}:{number}", row)
    except (OSError, ValueError, importlib.import_module("pyarrow").ArrowException) as error:
        raise TaskError(f"{shown}: not a readable Parquet file: {_first_line(error)}") from error


def _rows_in(table: Any) -> list[dict[str, object]]:  # noqa: ANN401 - of a library without types
    """The rows of an Arrow table. A cell that is no value of Python's is a fault of those who want it alone."""
    try:
        rows: list[dict[str, object]] = table.to_pylist()
    except (ValueError, OverflowError):  # text that is not UTF-8, a date beyond the year 9999 ...
        columns = [[_cell_in(scalar) for scalar in column] for column in table.columns]
        rows = [dict(zip(table.schema.names, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return rows


def _cell_in(scalar: Any) -> object:  # noqa: ANN401
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return Unreadable("is not UTF-8 text")
    except (ValueError, OverflowError) as error:
        return Unreadable(f"cannot be read: {_first_line(error)}")


def _read_dataset(source: DataSource, base_dir: Path) -> Iterator[Row]:
    """Rows count from 0, as `datasets` does; class labels come as their names, a missing one as null."""
    shown = source.files or source.dataset or ""
    library = _optional("datasets", f"dataset {shown!r}: reading Hugging Face datasets")
    try:
        for number, row in enumerate(_dataset_rows(library, source, base_dir)):
            yield Row(f"{shown}[{source.split}] row {number}", row)
    except Exception as error:  # its own, and those of all that it reads with
        raise TaskError(f"dataset {shown!r}: cannot be loaded: {_why(error)}") from error


def _dataset_rows(library: ModuleType, source: DataSource, base_dir: Path) -> Iterator[dict[str, object]]:
    """If other splits' files have other columns, or are broken, then those of this split alone."""
    location = _location(source.dataset or "", base_dir)
    files: object = _file_pattern(source.files, base_dir) if source.files else None
    try:
        rows = _rows_of_dataset(library, source, location, files)
        first = list(islice(rows, 1))
    except Exception as error:
        no_other = source.files or isinstance(error, OSError)  # such as none of that name, or no network
        files = None if no_other else _files_of_split(library, source, location)
        if files is None:
            raise
        rows, first = _rows_of_dataset(library, source, location, files), []
    yield from first
    yield from rows


def _rows_of_dataset(
    library: ModuleType, source: DataSource, location: str, files: object
) -> Iterator[dict[str, object]]:
    """By the batch, without the library's decoding of every cell: some thirty times as fast as one by one."""
    table = library.load_dataset(
        location,
        source.config,
        split=source.split,
        **({"data_files": files} if files else {}),
        **({"streaming": True} if source.rows else {}),
    )
    names = {
        column: feature.names
        for column, feature in (table.features or {}).items()
        if isinstance(feature, library.ClassLabel)
    }
    for batch in table.with_format("arrow").iter(batch_size=_BATCH):
        for row in _rows_in(batch):
            yield {**row, **{column: _class_name(row[column], of) for column, of in names.items()}}


def _files_of_split(library: ModuleType, source: DataSource, location: str) -> dict[str, list[str]] | None:
    """The files of the splits that are asked for ("train[:200]", "train+test"); None if they cannot be told apart."""
    files = library.load_dataset_builder(location, source.config).config.data_files or {}
    splits = [part.partition("[")[0].strip() for part in (source.split or "").split("+")]
    return {split: [str(file) for file in files[split]] for split in splits} if set(splits) < set(files) else None


def _why(error: BaseException) -> str:
    """The fault beneath an error that only says that there was one."""
    cause = error.__cause__ or error
    if type(cause).__name__ in ("CastError", "DatasetGenerationCastError"):
        return "the files of the split differ in their columns; say in `files` which to read"
    return _first_line(cause)


def _location(name: str, base_dir: Path) -> str:
    return str(base_dir / Path(name).expanduser()) if name.startswith(("./", "../", "/", "~")) else name


def _file_pattern(files: str, base_dir: Path) -> str:
    return files if "://" in files else str(base_dir / Path(files).expanduser())


def _class_name(value: object, names: list[str]) -> object:
    if not isinstance(value, int) or value < 0:
        return None
    return names[value] if value < len(names) else Unreadable(f"is {value}, and has names up to {len(names) - 1}")


def _optional(module: str, purpose: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = module.partition(".")[0]
        raise TaskError(f"{purpose} needs {missing}, which is not installed: pip install 'metaspo[data]'") from error


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_READERS: Final[Mapping[str, Callable[[Path, str], Iterator[Row]]]] = {
    ".jsonl": _read_jsonl,
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".parquet": _read_parquet,
}
