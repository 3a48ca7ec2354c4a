import os
import signal

import pytest

from serve.cli import signals


@pytest.mark.parametrize("number", signals.STOPPING)
def test_the_first_signal_stops_and_the_next_do_not(number: signal.Signals) -> None:
    before = {one: signal.getsignal(one) for one in signals.STOPPING}
    cleared = []

    def work() -> None:
        with signals.stopping_once():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), signal.SIGTERM)
                cleared.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    for one, handler in before.items():
        signal.signal(one, handler)
    assert cleared == [True]


def test_signals_are_as_before_when_none_came() -> None:
    before = {one: signal.getsignal(one) for one in signals.STOPPING}
    with signals.stopping_once():
        pass
    assert {one: signal.getsignal(one) for one in signals.STOPPING} == before
