"""README, tutorial and guides, executed: each command works on a real server and prints what the page shows."""

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from http_api.routes import OPERATIONS
from tests.documentation.pages import PAGES, SCENES
from tests.support.processes import serving
from tests.support.walkthrough import agrees, steps, walk

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "curl", "redis-cli")


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"one of {', '.join(TOOLS)} is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = page.read_text(encoding="utf-8")
    if not list(steps(text)):
        return
    scene = SCENES / f"{page.stem}.sh"
    directory = tmp_path_factory.mktemp("p")
    with serving("--port", "0", "--data-dir", str(directory / "broker-data")) as server:
        done = walk(text, directory, server.url, scene=scene.read_text(encoding="utf-8") if scene.exists() else "")
    wrong = [
        f"{page.name}:{it.step.line}\n{it.step.typed.strip()}\nshown:   {it.step.output}\nprinted: {it.printed}\nstatus:  {it.status}"
        for it in done
        if it.status != 0 or (it.step.output is not None and not agrees(it.printed, it.step.output))
    ]
    assert not wrong, "\n\n".join(wrong)


def test_the_manifest_for_kubernetes_probes_what_is_there() -> None:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "guides" / "deploying.md").read_text(encoding="utf-8"), re.DOTALL)
    deployment, service = (msgspec.yaml.decode(part, type=dict[str, Any]) for part in manifest.split("---\n"))
    pod = deployment["spec"]["template"]
    assert pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    probes = {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
    assert probes <= {operation.path for operation in OPERATIONS}
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["containerPort"]


def test_an_output_is_compared_without_its_spaces_ids_and_times() -> None:
    assert agrees('{"id": "1795458006460-0",\n "at": "2026-11-23T18:20:06.460Z"}', '{"id":"1718000000000-7","at":"2031-01-31T12:00:00Z"}')
    assert agrees('{"a":1,"b":[2,3],"c":4}', '{"a":1,…,"c":4}')
    assert not agrees('{"acked":0,"stale":["x"]}', '{"acked":1,"stale":[]}')
    assert not agrees('{"a":1,"c":5}', '{"a":1,…,"c":4}')
