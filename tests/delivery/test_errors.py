"""The exit code of each kind of failure, which scripts and the pipeline rely on."""

import pytest
from delivery import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.DeliveryError, 1),
        (errors.CommandError, 1),
        (errors.UnsettledError, 1),
        (errors.ConflictError, 1),
        (errors.MisuseError, 2),
        (errors.RefusedError, 3),
        (errors.RestoredError, 4),
        (errors.AlarmError, 5),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    kind: type[errors.DeliveryError], code: int
) -> None:
    error = kind("what", why="why", then="then", log="log")
    assert error.exit_code == code
    assert (str(error), error.why, error.then, error.log) == ("what", "why", "then", "log")


def test_no_handler_for_failures_swallows_an_interruption() -> None:
    assert not issubclass(errors.Interrupted, Exception)
    assert errors.Interrupted(15).signum == 15
