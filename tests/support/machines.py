"""Runs state machines: the same histories each time, or as many new ones as the environment asks for."""

import logging
import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test


def run_histories(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Run random histories of a machine, of so many steps at most.

    BROKER_TEST_EXAMPLES: so many histories, and new ones. BROKER_TEST_STEPS: new ones until they have so many steps.
    """
    asked, wanted = os.environ.get("BROKER_TEST_EXAMPLES"), int(os.environ.get("BROKER_TEST_STEPS", 0))
    made = 0

    class Counted(machine):  # type: ignore[misc, valid-type]
        @invariant()
        def count(self) -> None:
            nonlocal made
            made += 1

    while made <= wanted:
        run_state_machine_as_test(
            Counted,
            settings=settings(
                max_examples=200 if wanted else int(asked or examples),
                stateful_step_count=steps,
                deadline=None,
                derandomize=not (asked or wanted),
                suppress_health_check=list(HealthCheck),
            ),
        )
        logging.getLogger(__name__).info("%d steps", made)
