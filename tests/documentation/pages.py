"""The pages whose commands the tests run, and where what a page takes for granted is made."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "start.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
SCENES = Path(__file__).parent / "scenes"
