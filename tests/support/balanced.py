"""Publishers and workers behind a load balancer while servers are killed: what they saw, and the broker's counts."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from broker.store.embedded import Embedded
from tests.support.processes import ServeProcess, free_port, serving
from tests.support.workers import Delivered, Log, attempt, worker

ACK_WAIT_S = 2.0
PUBLISHERS = 4
CHUNK = 10

Disturb = Callable[[asyncio.Event], Awaitable[int]]


@dataclass
class Account(Log):
    """What publishers and workers saw, and what the broker itself says in the end."""

    ack_wait_s: float = ACK_WAIT_S
    nacked: float = 0.0
    dropped: float = 0.0
    published: dict[str, str] = field(default_factory=dict)  # event id to message id
    repeated: int = 0  # events whose first answer was lost: the second said `duplicate`
    held: int = 0  # messages in the stream
    left: dict[str, int] = field(default_factory=dict)  # the consumer's counts
    disturbed: int = 0

    def lost(self) -> set[str]:
        """Published messages that no worker ever saw."""
        return set(self.published.values()) - set(self.deliveries)

    def acked_once(self) -> int:
        """Messages of which one ack was answered, or surely done: the broker holds nothing that is not acked."""
        return sum(1 for ds in self.deliveries.values() if sum(d.acked for d in ds) == 1 or self._acked_unseen(ds))

    def _acked_unseen(self, deliveries: list[Delivered]) -> bool:
        return not any(d.acked for d in deliveries) and any(d.unanswered for d in deliveries)

    def acked_twice(self) -> int:
        """Messages of which two acks were answered as done."""
        return sum(1 for n in self.acked().values() if n > 1)

    def delivered_again(self) -> Counter[str]:
        """Why messages were delivered more than once: what became of each delivery but the last."""
        reasons: Counter[str] = Counter()
        for deliveries in self.deliveries.values():
            seen = {d.count: d for d in deliveries}
            for count in range(1, max(seen)):
                before = seen.get(count)
                if before is None:
                    reasons["answer of next lost"] += 1
                elif before.unanswered:
                    reasons["answer of ack lost"] += 1
                else:
                    reasons["ack came after the ack wait"] += 1
        return reasons

    def unmet(self) -> list[str]:
        """What is not as the bar asks."""
        again = sum(max(d.count for d in ds) - 1 for ds in self.deliveries.values())
        asked = {
            "published": (len(self.published), self.total),
            "held by the stream": (self.held, self.total),
            "acked once": (self.acked_once(), self.total),
            "acked more than once": (self.acked_twice(), 0),
            "lost": (len(self.lost()), 0),
            "delivered but never published": (len(set(self.deliveries) - set(self.published.values())), 0),
            "two live at once": (len(self.overlaps()), 0),
            "left over": (sum(self.left.get(name, 1) for name in ("num_pending", "num_ack_pending", "num_dead")), 0),
            # A delivery's number is seen once: the same number twice would be the same delivery given to two workers.
            "same delivery seen twice": (sum(len(ds) - len({d.count for d in ds}) for ds in self.deliveries.values()), 0),
            "deliveries without a reason": (again - self.delivered_again().total(), 0),
        }
        return [f"{name}: {found}, not {wanted}" for name, (found, wanted) in asked.items() if found != wanted]

    def table(self) -> str:
        """The result, as docs/performance.md shows it."""
        again = self.delivered_again()
        rows = [
            ("published", f"{len(self.published):,} ({self.repeated:,} once more after a lost answer, found to be duplicates)"),
            ("acked once", f"{self.acked_once():,}"),
            ("acked more than once", f"{self.acked_twice():,}"),
            ("lost", f"{len(self.lost()):,}"),
            ("delivered again, the ack wait being over", _listed(again)),
            ("two deliveries live at once", f"{len(self.overlaps()):,}"),
            ("kills", f"{self.disturbed:,}"),
            ("calls without a good answer", _listed(self.errors)),
        ]
        return "\n".join(f"| {name} | {value} |" for name, value in rows)


def _listed(counted: Counter[str]) -> str:
    parts = ", ".join(f"{name} {n:,}" for name, n in sorted(counted.items()))
    return f"{counted.total():,} ({parts})" if parts else "0"


async def run(url: str, total: int, workers: int, seconds: float, disturb: Disturb, name: str = "load") -> Account:
    """Publish for about `seconds` and work meanwhile, while `disturb` runs until its event is set.

    `name` is that of a stream and of a consumer, which are made.
    """
    account = Account(total, publishing=True)

    def same_url() -> str:
        return url

    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        (await client.post("/v1/streams", json={"name": name, "kind": "events"})).raise_for_status()
        fields = {"name": name, "stream_id": name, "ack_wait_ms": int(ACK_WAIT_S * 1000), "max_ack_pending": 100_000}
        (await client.post("/v1/http-consumers", json=fields)).raise_for_status()
        done = asyncio.Event()
        disturbing = asyncio.ensure_future(disturb(done))
        working = asyncio.gather(*(worker(same_url, name, account, seconds + 120, seed) for seed in range(workers)))
        starts = [range(n, total, CHUNK * PUBLISHERS) for n in range(0, CHUNK * PUBLISHERS, CHUNK)]
        await asyncio.gather(*(_publish(same_url, name, account, mine, seconds) for mine in starts))
        account.publishing = False
        await working
        done.set()
        account.disturbed = await disturbing
        account.held = (await client.get(f"/v1/streams/{name}")).raise_for_status().json()["info"]["messages"]
        account.left = (await client.get(f"/v1/http-consumers/{name}")).raise_for_status().json()["info"]
    return account


async def _publish(urls: Callable[[], str], stream: str, account: Account, starts: range, seconds: float) -> None:
    """Publish chunks at an even pace.

    An answer that is lost is asked for again with the same ids, so nothing is doubled.
    """
    began = time.monotonic()
    async with httpx.AsyncClient(timeout=30) as client:
        for i, start in enumerate(starts):
            await asyncio.sleep(max(0.0, began + seconds * i / len(starts) - time.monotonic()))
            ids = [f"e{n}" for n in range(start, min(start + CHUNK, account.total))]
            body = {"messages": [{"collection_id": "load:test", "id": id_, "data": {"id": id_}} for id_ in ids]}
            while (answer := await attempt(client, "POST", urls, f"/v1/streams/{stream}/messages", account, json=body)) is None:
                pass
            account.repeated += answer["info"].get("duplicate", 0)
            account.published |= {row["id"]: row["message_id"] for row in answer["data"]}


@contextmanager
def three_servers() -> Iterator[tuple[list[ServeProcess], str]]:
    """Three servers over one embedded Valkey that none of them owns, on ports that stay theirs; and the Redis URL."""
    with tempfile.TemporaryDirectory(prefix="bb-") as directory, ExitStack() as stack:
        valkey = Embedded(Path(directory) / "d")
        valkey.start()
        stack.callback(valkey.stop)
        yield [stack.enter_context(serving("--port", str(free_port()), "--redis", valkey.url)) for _ in range(3)], valkey.url


def killing(servers: Sequence[ServeProcess], every: float) -> Disturb:
    """Kill the servers in turn, one every so many seconds, and start it again at once."""

    async def disturb(done: asyncio.Event) -> int:
        kills, starting = 0, dict.fromkeys(range(len(servers)), asyncio.ensure_future(asyncio.sleep(0)))
        while not await within(done, every):
            chosen = kills % len(servers)
            await starting[chosen]
            servers[chosen].kill()
            starting[chosen] = asyncio.ensure_future(asyncio.to_thread(servers[chosen].restart))
            kills += 1
        await asyncio.gather(*starting.values())
        return kills

    return disturb


async def within(done: asyncio.Event, seconds: float) -> bool:
    """Wait until it is over, and so long at most; whether it is."""
    try:
        await asyncio.wait_for(done.wait(), seconds)
    except TimeoutError:
        return False
    return True
