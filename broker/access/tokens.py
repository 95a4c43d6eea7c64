"""Access tokens and their scopes (C2, C51). Only a hash of a token is kept."""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from broker import keys
from broker.errors import BrokerError, NotFound, Unauthenticated, ValidationFailed
from broker.messages.names import WHAT_IS_A_NAME, is_name
from broker.messages.times import microseconds, rfc3339
from broker.store.client import Store
from broker.store.watch import RETRY_S, Watch

logger = logging.getLogger("broker")
# A script, because Redis refuses a plain XADD at its memory limit. A revocation must reach every server even then.
_ANNOUNCE = "#!lua flags=allow-oom\nredis.call('XADD', KEYS[1], 'MAXLEN', 1, '*', 'changed', '1')"
_SCOPE = re.compile(r"admin|read|(publish|consume|manage):(\*|[A-Za-z0-9_.-]{1,64})")
SCOPES = "admin, read, publish:STREAM, consume:CONSUMER or manage:CONSUMER (or :*)"


class AccessToken(msgspec.Struct, frozen=True):
    """An access token as Redis stores it."""

    name: str
    scopes: list[str]
    created_at: str
    expires_at: str | None = None


class Access:
    """The rights of a token's bearer while the token is valid. `name` is the name of the token."""

    def __init__(self, scopes: frozenset[str], name: str = "", expires_ms: int | None = None) -> None:
        self.scopes, self.name, self._expires_ms = scopes, name, expires_ms
        self._watchers: set[Callable[[], object]] = set()
        self.ended = False

    @property
    def lasts_s(self) -> float | None:
        """Seconds until the token expires. None: it does not expire."""
        return None if self._expires_ms is None else self._expires_ms / 1000 - time.time()

    @contextmanager
    def watched(self, ended: Callable[[], object]) -> Iterator[None]:
        """Call `ended` if the token is revoked or expires within the `with` block."""
        lasts_s = self.lasts_s
        timer = None if lasts_s is None else asyncio.get_running_loop().call_later(max(0, lasts_s), self.end)
        self._watchers.add(ended)
        try:
            yield
        finally:
            self._watchers.discard(ended)
            if timer is not None:
                timer.cancel()

    def end(self) -> None:
        """Mark the token as revoked or expired."""
        self.ended = True
        for ended in tuple(self._watchers):
            ended()

    def allows(self, action: str, name: str | None = None, *, read: bool = False) -> bool:
        """Whether the scopes allow `publish` to a stream, `consume` or `manage` of a consumer, or `admin`.

        `read`: the call only reads.
        """
        if "admin" in self.scopes or (read and "read" in self.scopes):
            return True
        return name is not None and (f"{action}:*" in self.scopes or f"{action}:{name}" in self.scopes)


_EVERYTHING = frozenset({"admin"})


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _readable(rows: dict[str, bytes]) -> dict[str, AccessToken]:
    """Parse the rows of a table. A malformed row admits nobody and does not hide the other rows."""
    tokens = {}
    for digest, row in rows.items():
        try:
            tokens[digest] = msgspec.json.decode(row, type=AccessToken)
        except (msgspec.DecodeError, UnicodeDecodeError):
            logger.warning("%s holds something that is no token, at %s", keys.TOKENS, digest[:8])
    return tokens


class OpenMode:
    """Whether calls without a token are admitted (C2). Once shut, it never opens again.

    `mark` is a file that the processes of one server share. It exists while all of them are open. The first process
    that shuts removes it, so a process that replaces a dead one stays shut, even if Redis holds no token by then.
    """

    def __init__(self, mark: Path | None = None) -> None:
        self._mark = mark
        self._open = mark is None or mark.exists()

    @property
    def is_open(self) -> bool:
        """Whether calls without a token are admitted."""
        return self._open

    def shut(self) -> None:
        """Refuse calls without a token from now on."""
        self._open = False
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)


class AccessTokens:
    """The access tokens of a store, kept in memory and reloaded after every change.

    One blocking read waits for changes by any server or command, so a revoked token is refused within milliseconds.
    While Redis cannot be reached, the last known table applies.

    A server is open only if it starts in `open_mode`, has no admin token, and no token was ever created in its Redis.
    (The stream of changes shows whether revoked tokens existed.) Each server decides this once, in `start`. After that
    it can only shut, as soon as anyone creates a token. If the table becomes empty (the last token was revoked, or
    Redis lost its data), the server stays shut: it refuses every call until a token is created. A server that other
    machines can reach is never in open mode.
    """

    def __init__(self, store: Store, admin_token: str | None = None, open_mode: OpenMode | None = None) -> None:
        self._store = store
        self._admin = _digest(admin_token) if admin_token else None
        self._known: dict[str, Access] = {}
        self._admins = Access(_EVERYTHING, "(BROKER_ADMIN_TOKEN)")  # not a valid name of a token
        self.anyone = Access(_EVERYTHING)  # for callers without a token, while the server is open
        self._open_mode = open_mode if self._admin is None else None
        self.open = False  # read at every call
        self._task: asyncio.Task[None] | None = None

    async def none_was_made(self) -> bool:
        """Whether no token exists or ever existed."""
        return not await self._rows() and not await self._store.call("EXISTS", keys.TOKEN_CHANGES)

    def access(self, token: str) -> Access:
        """The rights of a token's bearer. Unauthenticated: the token is unknown, revoked or expired."""
        digest = _digest(token)
        if self._admin is not None and hmac.compare_digest(digest, self._admin):
            return self._admins
        found = self._known.get(digest)
        if found is None:
            raise Unauthenticated("The access token is unknown or was revoked.")
        lasts_s = found.lasts_s
        if lasts_s is not None and lasts_s <= 0:
            raise Unauthenticated("The access token has expired.")
        return found

    async def create(self, name: str, scopes: Sequence[str], expires_in_ms: int | None = None) -> str:
        """Create a token and return the only copy of its text.

        ValidationFailed: the name or a scope is invalid, or the name is taken.
        """
        if not is_name(name):
            raise ValidationFailed({"name": [f"must be {WHAT_IS_A_NAME}"]})
        if wrong := {f"scopes[{i}]": [f"{scope!r} is not {SCOPES}"] for i, scope in enumerate(scopes) if not _SCOPE.fullmatch(scope)}:
            raise ValidationFailed(wrong)
        if not scopes:
            raise ValidationFailed({"scopes": ["at least one is required"]})
        if any(token.name == name for token in (await self.list()).values()):
            raise ValidationFailed({"name": [f"a token {name!r} exists"]})
        text = f"brk_{secrets.token_urlsafe(32)}"
        seconds, micros = await self._store.call("TIME")
        now = int(seconds) * 1000 + int(micros) // 1000
        expires_at = rfc3339(now + expires_in_ms) if expires_in_ms is not None else None
        row = AccessToken(name, sorted(set(scopes)), rfc3339(now), expires_at)
        await self._store.call("HSET", keys.TOKENS, _digest(text), msgspec.json.encode(row))
        await self._announce()
        return text

    async def list(self) -> dict[str, AccessToken]:
        """All tokens, keyed by the hash of their text."""
        return _readable(await self._rows())

    async def _rows(self) -> dict[str, bytes]:
        flat = await self._store.call("HGETALL", keys.TOKENS)
        return {digest.decode("latin-1"): row for digest, row in zip(flat[::2], flat[1::2], strict=True)}

    async def revoke(self, name: str) -> None:
        """Revoke a token. NotFound."""
        digests = [digest for digest, token in (await self.list()).items() if token.name == name]
        if not digests:
            raise NotFound(f"There is no token {name!r}.")
        await self._store.call("HDEL", keys.TOKENS, *digests)
        await self._announce()

    async def _announce(self) -> None:
        await self._store.call("EVAL", _ANNOUNCE, 1, keys.TOKEN_CHANGES)

    async def start(self) -> None:
        """Load the table and follow its changes until `close`."""
        await self._load_table()
        self.open = self._open_mode is not None and self._open_mode.is_open
        self._task = asyncio.create_task(self._follow(), name="broker-access-tokens")

    async def _load_table(self) -> None:
        rows = await self._rows()
        before, self._known = self._known, {}
        for digest, token in _readable(rows).items():
            scopes, expires_at = frozenset(token.scopes), token.expires_at
            known = before.get(digest)
            fresh = Access(scopes, token.name, None if expires_at is None else microseconds(expires_at) // 1000)
            self._known[digest] = known if known is not None and known.scopes == scopes else fresh
        for digest, access in before.items():
            if self._known.get(digest) is not access:
                access.end()
        if rows or (self._open_mode is not None and await self._store.call("EXISTS", keys.TOKEN_CHANGES)):
            self._shut()

    async def _load_table_surely(self) -> None:
        """Retry until the table is read. A change is announced once; without a reload, revoked tokens stay valid."""
        while True:
            try:
                await self._load_table()
                return
            except BrokerError:
                await asyncio.sleep(RETRY_S)

    def _shut(self) -> None:
        if self.open:
            logger.info("an access token was made: from now on no call is served without one")
        if self._open_mode is not None:
            self._open_mode.shut()
        self._open_mode, self.open = None, False
        self.anyone.end()

    async def _follow(self) -> None:
        watch = Watch(self._store, {keys.TOKEN_CHANGES: "0-0"})
        try:
            while True:
                if await watch.growth():
                    self._shut()
                await self._load_table_surely()
        finally:
            await watch.close()

    async def close(self) -> None:
        """Stop following changes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
