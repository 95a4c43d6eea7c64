"""Console in Chromium: time to the first screen, and a live tail of a large stream.

usage: python -m benchmarks.console [--events 1000000] [--turns 9] [--seconds 40]

Needs chromium in the PATH. Exit status 1: the first rows took over 300 ms with 200 consumers or over 1 s with 1,000
(medians), or a long task of the tail lasted over 100 ms (median of the longest three).
"""

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time

import httpx
from playwright.sync_api import Browser, sync_playwright

from tests.support.processes import serving

STREAM = "large"
FIRST_MS = {200: 300.0, 1000: 1000.0}
LONG_MS = 100.0
# Pauses before a load, for the previous context to end, and for the load itself.
SETTLED_S = 0.5
LOADED_S = 3.0
A_SECOND = 500
# Records when the eleventh row of a table appears, and every long task.
NOTE_ROWS = """
window.longTasks = [];
new PerformanceObserver((list) => list.getEntries().forEach((entry) => longTasks.push(entry.duration)))
  .observe({ entryTypes: ["longtask"] });
new MutationObserver((_, observer) => {
  if (document.querySelectorAll("tbody tr").length > 10) { window.firstRows = performance.now(); observer.disconnect(); }
}).observe(document, { childList: true, subtree: true });
"""


def first_rows(browser: Browser, url: str, turns: int) -> list[float]:
    """Milliseconds from the request to the rows of the overview, each time in a fresh browser context.

    Nothing else runs meanwhile: Playwright's waiting would put scripts of its own into the page.
    """
    found = []
    for _ in range(turns):
        context = browser.new_context()
        page = context.new_page()
        page.add_init_script(NOTE_ROWS)
        time.sleep(SETTLED_S)
        page.goto(f"{url}/console/", wait_until="commit")
        time.sleep(LOADED_S)
        found.append(float(page.evaluate("firstRows")))
        context.close()
    return sorted(found)


def fill(client: httpx.Client, events: int) -> None:
    """Publish the stream that is tailed."""
    client.post("/streams", json={"name": STREAM, "kind": "events"}).raise_for_status()
    for start in range(0, events, 10_000):
        rows = ({"collection_id": "shop:orders", "data": {"n": n, "text": "some text here"}} for n in range(start, start + 10_000))
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        client.post(f"/streams/{STREAM}/messages", content=lines, headers={"content-type": "application/x-ndjson"}).raise_for_status()


class Publisher(threading.Thread):
    """Publishes A_SECOND events per second until it is ended."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._over, self.sent = url, threading.Event(), 0

    def run(self) -> None:
        """Publish events as they become due."""
        began = time.monotonic()
        with httpx.Client(base_url=self._url + "/v1", timeout=60) as client:
            while not self._over.wait(0.02):
                due = min(int((time.monotonic() - began) * A_SECOND) - self.sent, 100)
                if due > 0:
                    message = {"collection_id": "shop:orders", "data": {"text": "x" * 200}}
                    client.post(f"/streams/{STREAM}/messages", json={"messages": [message] * due}).raise_for_status()
                    self.sent += due

    def end(self) -> None:
        """End it."""
        self._over.set()
        self.join()


def tail(browser: Browser, url: str, seconds: int) -> tuple[int, list[float], list[float]]:
    """A live tail: events published meanwhile, long tasks in ms, and the used heap in MB every five seconds."""
    publisher = Publisher(url)
    publisher.start()
    page = browser.new_page()
    page.add_init_script(NOTE_ROWS)
    session = page.context.new_cdp_session(page)
    page.goto(f"{url}/console/#/stream/{STREAM}?live=1")
    page.wait_for_selector("tbody tr")
    page.evaluate("longTasks.length = 0")
    heap = []
    for _ in range(seconds // 5):
        page.wait_for_timeout(5000)
        session.send("HeapProfiler.collectGarbage")
        heap.append(session.send("Runtime.getHeapUsage")["usedSize"] / 1e6)
    publisher.end()
    return publisher.sent, sorted(page.evaluate("longTasks"), reverse=True), heap


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=40)
    args = parser.parse_args()
    missed = False
    with (
        tempfile.TemporaryDirectory(prefix="bb-") as directory,
        serving("--port", "0", "--data-dir", f"{directory}/d") as server,
        httpx.Client(base_url=server.url + "/v1", timeout=60) as client,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        fill(client, args.events)
        made = 0
        for count, bound in FIRST_MS.items():
            for made in range(made, count):  # noqa: B020 - it goes on
                client.post("/http-consumers", json={"name": f"c{made:04}", "stream_id": STREAM}).raise_for_status()
            made = count
            found = first_rows(browser, server.url, args.turns)
            print(f"{count} consumers: first rows after {statistics.median(found):.0f} ms ({found[0]:.0f} to {found[-1]:.0f})", flush=True)
            missed |= statistics.median(found) > bound
        sent, long_tasks, heap = tail(browser, server.url, args.seconds)
        print(f"tail: {sent:,} events in {args.seconds} s, long tasks of {[round(ms) for ms in long_tasks[:5]]} ms")
        print(f"heap in MB, every 5 s: {[round(size, 1) for size in heap]}")
        missed |= bool(long_tasks) and statistics.median(long_tasks[:3]) > LONG_MS
        browser.close()
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
