"""Running state machines: the same histories each time, or others and more of them where the environment asks for a number."""

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_histories(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Run random histories of a machine. BROKER_TEST_EXAMPLES: so many, and new ones."""
    asked = os.environ.get("BROKER_TEST_EXAMPLES")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(asked or examples),
            stateful_step_count=steps,
            deadline=None,
            derandomize=asked is None,
            suppress_health_check=list(HealthCheck),
        ),
    )
