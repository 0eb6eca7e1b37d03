# pyright: reportMissingImports=false
# (pyarrow comes with an optional extra: types are checked where it is installed.)
"""Read data files of a user. Every error names the file and a cure."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LFS = "version https://git-lfs"  # the start of a file that Git LFS has not fetched


def data_files(path: str, *suffixes: str) -> list[Path]:
    """List the data files of a path, a file or a folder, sorted by name.

    Hidden files in a folder, such as ``._a.json`` of macOS, are left out, with a printed note.

    :param suffixes: suffixes of data files
    :raises ValueError: if there is no such file
    """
    place = Path(path).expanduser()
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    files = [file for file in files if file.suffix in suffixes and file.is_file()]
    shown = [file for file in files if file == place or not file.name.startswith(".")]
    if hidden := [file.name for file in files if file not in shown]:
        print(f"{path}: left out {len(hidden)} hidden files: {', '.join(hidden[:3])}")
    if not shown:
        kinds = " or ".join(suffixes)
        raise ValueError(f"{path} is neither a folder with {kinds} files nor one such file")
    return shown


def read_text(file: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    :raises ValueError: if the file is not UTF-8, or is a pointer of Git LFS
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a text in UTF-8 ({error}): save it as UTF-8") from None
    if text.startswith(LFS):
        raise ValueError(f"{file} is a pointer of Git LFS: fetch the file with git lfs pull")
    return text


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read the rows of a .jsonl or .parquet file.

    :raises ValueError: naming the file, the line and the cure
    """
    rows = _parquet(file) if file.suffix == ".parquet" else list(_json_lines(file))
    if not rows:
        raise ValueError(f"{file} has no rows: is it the right file?")
    return rows


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_text(file).split("\n"), start=1):  # not at U+2028
        if not line.strip():
            continue
        if line.lstrip().startswith("["):
            raise ValueError(
                f"{file}, line {number} begins a JSON array: put one object on each line instead, "
                f"as `jq -c '.[]' {file.name}` does"
            )
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{file}, line {number} is not JSON ({error}): put one object on each line"
            ) from None
        if not isinstance(row, dict):
            raise ValueError(
                f"{file}, line {number} is the JSON value {line[:40]!r}: put an object on each line"
            )
        yield row


def _parquet(file: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        with file.open("rb") as start:
            if start.read(len(LFS)) == LFS.encode():
                raise ValueError(
                    f"{file} is a pointer of Git LFS: fetch the file with git lfs pull"
                ) from None
        raise ValueError(
            f"{file} cannot be read as parquet ({' '.join(str(error).split())}): it may be cut "
            "off, so copy or download it again"
        ) from None
