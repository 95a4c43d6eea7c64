"""Output of commands: objects as JSON; rows as a table on a terminal, as NDJSON in a pipe."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

# The columns of a row's message after `flat`: heading -> path in the row, as in all tables.
MESSAGE = {"collection": "message.collection_id", "message": "message.id", "upstream id": "message.upstream_id"}


def show(value: Any) -> None:
    """Print one object: indented on a terminal, one line in a pipe."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def show_rows(rows: Iterable[dict[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows: a table on a terminal, by heading and path of each column; whole objects as NDJSON in a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    cells = [list(columns), *([_cell(row, path) for path in columns.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(row: dict[str, Any], path: str) -> str:
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flat(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Rename the record or event of each row to `message`, for table columns. In a pipe, rows stay unchanged."""
    if not sys.stdout.isatty():
        return rows
    return (row | {"message": row.get("record") or row.get("event")} for row in rows)
