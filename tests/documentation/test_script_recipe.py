"""The shell lines of the Lua contract that put a script together give what the library runs."""

import re
import subprocess

import pytest

from broker.commands.scripts import LUA, Scripts, names

PAGE = (LUA / "README.md").read_text(encoding="utf-8")
(RECIPE,) = re.findall(r"^```sh\n(keys\(\).*?^}\n)", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", names())
def test_the_recipe_of_the_page_builds_the_script(command: str) -> None:
    done = subprocess.run(["bash", "-c", f"{RECIPE}script {command}"], cwd=LUA.parent, capture_output=True, text=True, check=True)
    # The library puts an empty line between the files.
    assert re.sub(r"\n+", "\n", done.stdout) == re.sub(r"\n+", "\n", Scripts()[command].text)
