import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.schedule import Schedule, ScheduleName, learning_rate

PEAKS = st.floats(1e-6, 10)
STEPS = st.integers(2, 10_000)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Schedule, float, int]:
    steps = draw(STEPS)
    schedule = Schedule(
        name=draw(st.sampled_from(ScheduleName)),
        warmup_steps=draw(st.integers(0, steps - 1)),
        final_fraction=draw(st.floats(0, 1)),
    )
    return schedule, draw(PEAKS), steps


@given(schedules(), st.data())
def test_a_rate_is_a_float32_between_0_and_the_peak(
    case: tuple[Schedule, float, int], data: st.DataObject
) -> None:
    schedule, peak, steps = case
    step = data.draw(st.integers(1, steps))
    found = learning_rate(schedule, peak=peak, step=step, steps=steps)
    assert struct.unpack("<f", struct.pack("<f", found))[0] == found
    assert 0 <= found <= peak * (1 + 2**-23)


@given(schedules(), st.data())
def test_a_rate_rises_in_the_warm_up_and_falls_after(
    case: tuple[Schedule, float, int], data: st.DataObject
) -> None:
    schedule, peak, steps = case
    step = data.draw(st.integers(1, steps - 1))
    here = learning_rate(schedule, peak=peak, step=step, steps=steps)
    there = learning_rate(schedule, peak=peak, step=step + 1, steps=steps)
    is_warming = step < schedule.warmup_steps
    assert here <= there if is_warming else here >= there


@given(PEAKS, STEPS, st.floats(0, 1))
def test_the_last_rate_is_the_final_fraction(peak: float, steps: int, fraction: float) -> None:
    for name in (ScheduleName.LINEAR, ScheduleName.COSINE):
        schedule = Schedule(name=name, final_fraction=fraction)
        found = learning_rate(schedule, peak=peak, step=steps, steps=steps)
        assert found == pytest.approx(peak * fraction, rel=1e-6, abs=1e-12)


@given(st.integers(1, 10_000), STEPS)
def test_the_cosine_is_the_cosine(step: int, steps: int) -> None:
    schedule = Schedule(name=ScheduleName.COSINE)
    at = min(step, steps)
    expected = (1 + math.cos(math.pi * at / steps)) / 2
    found = learning_rate(schedule, peak=1.0, step=at, steps=steps)
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "step", "rate"),
    [
        ("constant", 1, 0.25),
        ("constant", 2, 0.5),
        ("constant", 10, 0.5),
        ("linear", 6, 0.275),
        ("linear", 10, 0.05),
        ("cosine", 6, 0.275),
        ("cosine", 4, 0.43409901857376099),
        ("cosine", 10, 0.05),
    ],
)
def test_known_rates_stay(name: str, step: int, rate: float) -> None:
    schedule = Schedule(name=ScheduleName(name), warmup_steps=2, final_fraction=0.1)
    found = learning_rate(schedule, peak=0.5, step=step, steps=10)
    assert found == struct.unpack("<f", struct.pack("<f", rate))[0]
