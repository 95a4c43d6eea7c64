"""The troubleshooting guide answers each question with one command and its output. test_pages runs them."""

import re
from pathlib import Path

import pytest

from tests.documentation.pages import PAGES, SCENES
from tests.support.walkthrough import steps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "troubleshooting.md"
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:])
QUESTIONS = [heading for heading in SECTIONS if heading.endswith("?")]


def test_an_operator_has_ten_questions_answered() -> None:
    assert len(QUESTIONS) >= 10
    assert PAGE in PAGES  # which are run
    assert (SCENES / f"{PAGE.stem}.sh").exists()


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_has_one_command_its_output_and_what_to_do(question: str) -> None:
    before, _, after = re.split(r"^```(?:sh)?$", SECTIONS[question], flags=re.MULTILINE)
    assert 1 <= len(before.strip().splitlines()) <= 2, "a sentence"
    assert after.strip(), "what to do"
    (step,) = steps(SECTIONS[question])
    assert re.fullmatch(r"(broker|curl) [^\n;|&]+", step.typed.strip())
    assert step.output is not None
    shown = re.sub(r"[\s…]", "", step.output)
    assert len(shown) > 10
    assert len(shown) > 5 * step.output.count("…"), "an output, and not any output"
