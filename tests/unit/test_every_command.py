"""Every command of `broker --help`, with proxies in the environment: good and bad input, no server, wrong token (C48).

They run in this process, because there are many. `serve` and `demo` run as processes in their own tests.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest

from http_api.cli.main import COMMANDS, broker, main
from tests.support.command_line import Cli, commands, events
from tests.support.processes import ServeProcess, serving

TOKEN = "swordfish-swordfish"  # noqa: S105 - of the server of these tests
NOBODY = "http://127.0.0.1:1"
# Nothing listens there, and httpx reads neither the scheme nor the network.
PROXIES = {
    "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks://127.0.0.1:9", "NO_PROXY": "::1/128",
}  # fmt: skip

# command -> arguments that do what they should, and arguments that are wrong with the status that they end with
AT_A_SERVER: dict[str, tuple[list[str], list[str], int]] = {
    "publish": (["s", "FILE"], ["s", "no/such/file"], 1),
    "consume": (["c", "--no-ack", "--deliveries"], ["no such name"], 2),
    "record": (["r", "id/1"], ["r", "nothing"], 1),
    "message": (["s", "MESSAGE"], ["s", "nothing"], 1),
    "top": (["--once"], ["--every", "0"], 2),
    "stream create": (["new", "--kind", "events"], ["new", "--max-messages", "5"], 1),
    "stream update": (["s", "--max-messages", "none", "--no-fsync"], ["s"], 2),
    "stream list": ([], ["extra"], 2),
    "stream show": (["s"], ["nothing"], 1),
    "stream messages": (["s", "--limit", "1"], ["s", "--limit", "0"], 2),
    "stream scheduled": (["s"], ["nothing"], 1),
    "stream cancel": (["s", "later"], ["s", "nothing"], 1),
    "stream delete": (["gone"], ["s"], 1),
    "consumer create": (["new", "--stream", "s"], ["new", "--ack-wait-ms", "1"], 1),
    "consumer update": (["c", "--max-deliver", "7"], ["c"], 2),
    "consumer list": (["--stream", "s"], ["--limit", "5"], 2),
    "consumer show": (["c"], ["nobody"], 1),
    "consumer delete": (["left"], ["nobody"], 1),
    "consumer pause": (["c", "--until", "2030-01-01T00:00:00Z"], ["c", "--until", "soon"], 1),
    "consumer resume": (["c"], ["nobody"], 1),
    "consumer reset": (["again", "--yes"], ["again"], 2),  # there is no terminal to ask
    "consumer peek": (["c", "--limit", "2"], ["c", "--limit", "all"], 2),
    "consumer pending": (["c"], ["nobody"], 1),
    "consumer retrying": (["c"], ["nobody"], 1),
    "consumer release": (["c", "--worker", "w"], ["c"], 2),
    "consumer why": (["c"], ["nobody"], 1),
    "audit": (["--limit", "5"], ["--limit", "0"], 2),
    "dead-letters list": (["c", "--reason", "rejected"], ["c", "--reason", "old"], 2),
    "dead-letters summary": (["c"], ["nobody"], 1),
    "dead-letters redrive": (["c", "--dry-run"], ["c", "--id", "yesterday"], 1),
    "dead-letters purge": (["c", "--all"], ["c"], 2),
}
AT_A_STORE: dict[str, tuple[list[str], list[str], int]] = {
    "token create": (["new", "--scope", "admin"], ["new", "--scope", "everything"], 1),
    "token list": ([], ["--scope", "admin"], 2),
    "token revoke": (["old"], ["nobody"], 1),
    "functions load": ([], ["now"], 2),
    "functions check": ([], ["now"], 2),
    "check": ([], ["now"], 2),
}
ALONE = {"serve", "demo", "functions print"}


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[ServeProcess]:
    """A server with something of everything, for each of these tests takes or deletes its own."""
    with serving("--port", "0", "--data-dir", str(data_dir), environ={"BROKER_ADMIN_TOKEN": TOKEN}) as server:
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            for name, kind in (("s", "events"), ("gone", "events"), ("r", "records")):
                client.post("/v1/streams", json={"name": name, "kind": kind}).raise_for_status()
            for name in ("c", "left", "again"):
                client.post("/v1/http-consumers", json={"name": name, "stream_id": "s"}).raise_for_status()
            record = {"messages": [{"collection_id": "a:b", "id": "id/1", "data": 1}]}
            client.post("/v1/streams/r/messages", json=record).raise_for_status()
            later = {"collection_id": "a:b", "id": "later", "data": 1, "deliver_at": "2030-01-01T00:00:00Z"}
            client.post("/v1/streams/s/messages", json={"messages": [{"collection_id": "a:b", "data": 1}, later]}).raise_for_status()
            server.message_id = client.get("/v1/streams/s/messages").json()["data"][0]["id"]  # type: ignore[attr-defined]
        Cli(server.url).ok_or_warned("token", "create", "old", "--scope", "admin", "--data-dir", str(data_dir))
        Cli(server.url).ok_or_warned("functions", "load", "--data-dir", str(data_dir))
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Proxies, and nothing of this machine's own; `main` takes signals, which pytest wants back."""
    request.getfixturevalue("server")  # started without proxies: its helpers are no commands
    for name in [name for name in os.environ if name.startswith("BROKER_")]:
        monkeypatch.delenv(name)
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Status, standard output and standard error."""
    capfd.readouterr()
    try:
        status = main(list(args))
    except SystemExit as exc:
        status = int(exc.code or 0)
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return status, out, err


def refused(capfd: pytest.CaptureFixture[str], *args: str, status: int) -> str:
    """The one line of a command that is refused, which prints nothing else."""
    found, out, err = run(capfd, *args)
    assert (found, out, err.count("\n")) == (status, "", 1), err
    assert err.startswith("broker: ")
    return err


def test_these_are_all_commands() -> None:
    assert commands().keys() == AT_A_SERVER.keys() | AT_A_STORE.keys() | ALONE


def test_help_lists_the_commands_as_they_say_it_themselves() -> None:
    context = click.Context(broker)
    for name, (_, words) in COMMANDS.items():
        command = broker.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(1000) == words


def test_help_shows_the_default_of_every_option_and_its_choices(capfd: pytest.CaptureFixture[str]) -> None:
    # Options that are no more than said or not, and those that must be given.
    plain = {"--token", "--redis", "--create", "--dry-run", "--scope", "--all"}
    for name, command in commands().items():
        status, out, _ = run(capfd, *name.split(), "--help")
        assert status == 0
        context = click.Context(command)
        for option in command.params:
            if not isinstance(option, click.Option):
                continue
            record = option.get_help_record(context)
            assert record is not None, (name, option.opts)
            shown = " ".join(record)
            assert "".join(shown.split()) in "".join(out.split()), (name, option.opts)
            if not plain & {*option.opts} and "purge" not in name:
                assert "default" in shown.lower(), (name, option.opts)
            if isinstance(option.type, click.Choice):
                assert all(choice in shown for choice in option.type.choices), (name, option.opts)


@pytest.mark.parametrize("command", AT_A_SERVER)
def test_commands_at_a_server(
    capfd: pytest.CaptureFixture[str], server: ServeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    good, wrong, status = AT_A_SERVER[command]
    (tmp_path / "FILE").write_bytes(b"\n".join(events([1, 2])))
    monkeypatch.chdir(tmp_path)
    there = ("--url", server.url, "--token", TOKEN)
    good = [server.message_id if word == "MESSAGE" else word for word in good]  # type: ignore[attr-defined]

    refused(capfd, *command.split(), *wrong, *there, status=status)
    assert NOBODY in refused(capfd, *command.split(), *good, "--url", NOBODY, status=1)
    assert "set BROKER_TOKEN" in refused(capfd, *command.split(), *good, "--url", server.url, "--token", "wrong", status=1)
    found, out, err = run(capfd, *command.split(), *good, *there)
    assert (found, err) == (0, ""), err
    for line in out.splitlines() if command not in ("publish", "top", "consumer why") else ():
        json.loads(line)


@pytest.mark.parametrize("command", AT_A_STORE)
def test_commands_at_a_store(capfd: pytest.CaptureFixture[str], data_dir: Path, command: str) -> None:
    good, wrong, status = AT_A_STORE[command]
    there = ("--data-dir", str(data_dir))

    refused(capfd, *command.split(), *wrong, *there, status=status)
    for redis in ("redis://127.0.0.1:1", f"unix://:wrong@{data_dir.resolve()}/valkey.sock"):
        assert "STORE_UNAVAILABLE" in refused(capfd, *command.split(), *good, "--redis", redis, status=1)
    assert "--redis" in refused(capfd, *command.split(), *good, "--redis", "http://host", status=2)
    found, _, err = run(capfd, *command.split(), *good, *there)
    assert (found, err.count("\n")) == (0, 1 if command in ("token create", "functions load") else 0), err


@pytest.mark.parametrize("args", [("serve", "--port", "x"), ("demo", "now"), ("functions", "print", "now"), (), ("fly",), ("stream",)])
def test_wrong_usage_of_the_others(capfd: pytest.CaptureFixture[str], args: tuple[str, ...]) -> None:
    refused(capfd, *args, status=2)


@pytest.mark.parametrize("args", [("consumer", "list", "--stream", "s"), ("consume", "c", "--no-ack"), ("check",)])
def test_proxies_leave_a_real_process_alone(server: ServeProcess, data_dir: Path, args: tuple[str, ...]) -> None:
    cli = Cli(server.url)
    cli.environ |= {"BROKER_TOKEN": TOKEN, "BROKER_DATA_DIR": str(data_dir)}
    cli.ok(*args)


def test_a_demo_goes_through_no_proxy_and_touches_no_redis_of_the_user(server: ServeProcess) -> None:
    done = Cli(server.url).run("demo", BROKER_REDIS_URL="redis://127.0.0.1:1", BROKER_ADMIN_TOKEN=TOKEN, BROKER_HOST="0.0.0.0")  # noqa: S104
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"dead letter" in done.stdout
