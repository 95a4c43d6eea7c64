"""Packages of npm, outside of the tree."""

import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]


def with_packages(source: Path, place: Path) -> Path:
    """Copy a folder's files and install the packages of its package.json. Skips the test if that is not possible."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, place)
    done = subprocess.run(INSTALL, cwd=place, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"npm could not install the packages of {source.name}: {done.stderr.strip().splitlines()[-1:]}")
    return place
