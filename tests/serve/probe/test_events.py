import pytest

from serve.probe import events
from serve.probe.events import arrivals

STREAM = (
    b'retry: 1000\nid: 1\nevent: status\ndata: {"seq":1}\n\n'
    b': alive\nid: 2\nevent: metric\ndata: {"seq":2}\n\n'
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_the_same_however_they_are_cut(size: int) -> None:
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    came = list(arrivals(pieces, lambda: 0.5))
    assert [(one.id, one.kind, one.record) for one in came] == [
        ("1", "status", {"seq": 1}),
        ("2", "metric", {"seq": 2}),
    ]


def test_an_event_has_the_moment_of_its_last_byte() -> None:
    moments = iter([1.0, 2.0, 3.0])
    head, tail = STREAM[:-1], STREAM[-1:]
    came = list(arrivals([head, tail], lambda: next(moments)))
    assert [one.at_s for one in came] == [1.0, 2.0]


def test_what_has_no_data_is_no_event() -> None:
    assert list(arrivals([b": alive\n\nretry: 5\n\n"], lambda: 0.0)) == []


def test_an_event_without_an_end_is_refused() -> None:
    endless = [b"data: " + b"x" * events.MAX_EVENT_BYTES]
    with pytest.raises(ValueError, match="an event of more than"):
        list(arrivals(endless, lambda: 0.0))
