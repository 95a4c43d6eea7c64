"""Reading what Prometheus reads."""

import re

_ROW = re.compile(r"(\w+)(?:{(.*)})? (\S+)")


def rows(text: str) -> dict[tuple[str, ...], float]:
    """The rows of an exposition: the name, then the labels as `name=value`, sorted."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = _ROW.fullmatch(line)
            assert match is not None, line
            labels = sorted(label.replace('"', "") for label in (match[2] or "").split(",") if label)
            found[(match[1], *labels)] = float(match[3])
    return found
