"""Filters: which messages a consumer gets (C18, C32)."""

import hashlib
from typing import Annotated

import msgspec

from broker.errors import ValidationFailed

Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Patterns = Pattern | Annotated[list[Pattern], msgspec.Meta(min_length=1, max_length=1000)]


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All keys must match, any pattern of a key. `*` matches all, a trailing `*` a prefix."""

    provider: Patterns | None = None
    collection_id: Patterns | None = None
    resource_id: Patterns | None = None
    sync_id: Patterns | None = None

    def resolved(self) -> "Filters":
        """The same without the alias `sync_id`."""
        if self.sync_id is None:
            return self
        if self.resource_id is not None and self.resource_id != self.sync_id:
            raise ValidationFailed({"filters.sync_id": ["differs from resource_id, whose alias it is"]})
        return Filters(provider=self.provider, collection_id=self.collection_id, resource_id=self.sync_id)

    def check(self) -> None:
        """ValidationFailed: a `*` is not at the end; elsewhere it would match only itself."""
        errors = {}
        for key in ("provider", "collection_id", "resource_id", "sync_id"):
            patterns: str | list[str] | None = getattr(self, key)
            single = isinstance(patterns, str)
            for i, pattern in enumerate([patterns] if isinstance(patterns, str) else patterns or ()):
                if "*" in pattern[:-1]:
                    errors[f"filters.{key}" if single else f"filters.{key}[{i}]"] = ["a * may stand at the end only"]
        if errors:
            raise ValidationFailed(errors)

    def canonical(self) -> str:
        """One JSON text for all filters with the same meaning; empty if everything matches."""
        wanted: dict[str, list[str]] = {}
        for key in ("collection_id", "provider", "resource_id"):
            patterns: str | list[str] | None = getattr(self.resolved(), key)
            values = sorted({patterns} if isinstance(patterns, str) else set(patterns or ()))
            if values and "*" not in values:
                wanted[key] = values
        return msgspec.json.encode(wanted).decode() if wanted else ""

    def as_given(self) -> str:
        """The filters as JSON, as the API shows them."""
        return msgspec.json.encode(self.resolved()).decode()


def filter_id(canonical: str) -> str:
    """A canonical filter's id in key names; empty for no filter."""
    return hashlib.sha256(canonical.encode()).hexdigest()[:16] if canonical else ""
