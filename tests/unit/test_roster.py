"""Who is at work: slots are woken for trials that wait, and idle ones rest where machines cost."""

from types import SimpleNamespace

import pytest

from neft_ray.sweep import roster
from neft_ray.sweep.happened import Happened
from neft_ray.sweep.roster import Roster


class Box:
    """Notes what a slot is told."""

    def __init__(self):
        self.told = []
        self.wake = SimpleNamespace(remote=lambda: self.told.append("wake"))
        self.rest = SimpleNamespace(remote=lambda: self.told.append("rest"))


@pytest.fixture
def boxes():
    return [Box(), Box(), Box()]


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [0.0]
    monkeypatch.setattr(roster.time, "monotonic", lambda: now[0])
    return now


def happen(to, slot, kind, is_idle=False):
    to.note(slot, Happened(1, kind, is_idle=is_idle, num_workers=2))


def woken(boxes):
    return [number for number, box in enumerate(boxes) if box.told[-1:] == ["wake"]]


def test_no_more_slots_are_woken_than_trials_wait(boxes):
    found = Roster(boxes, None)
    found.wake(2)
    found.wake(2)
    assert woken(boxes) == [0, 1]
    happen(found, 0, "woken")
    happen(found, 1, "came", is_idle=True)
    found.wake(2)
    assert woken(boxes) == [0, 1], "one waits for its workers, one is idle"
    found.give(1, 7)
    found.wake(2)
    assert woken(boxes) == [0, 1, 2]
    assert found.running == [(1, 7)] and found.manned == (1, 2)


def test_a_slot_has_workers_from_when_they_came_until_they_went(boxes):
    found = Roster(boxes, None)
    found.wake(3)
    assert found.first_idle is None and found.manned == (0, 0)
    happen(found, 2, "came", is_idle=True)
    happen(found, 0, "came", is_idle=True)
    assert (found.first_idle, found.manned) == (2, (2, 4))
    found.give(2, 1)
    happen(found, 2, "report")
    assert found.running == [(2, 1)]
    happen(found, 2, "crash")
    assert (found.running, found.manned) == ([], (1, 2))
    happen(found, 0, "went")
    assert (found.first_idle, found.manned) == (None, (0, 0))
    happen(found, 2, "came", is_idle=True)
    found.refused(2)
    assert found.manned == (0, 0)
    assert found.lose(2) is None


def test_the_trial_of_a_slot_that_is_struck_off_is_told(boxes):
    found = Roster(boxes, None)
    found.wake(1)
    happen(found, 0, "came", is_idle=True)
    found.give(0, 5)
    assert found.lose(0) == 5
    assert found.manned == (0, 0)


def test_idle_slots_rest_where_that_is_wanted_and_are_woken_again(boxes, clock):
    found = Roster(boxes, 60.0)
    found.wake(1)
    happen(found, 0, "came", is_idle=True)
    clock[0] = 59.0
    found.rest(0)
    assert found.first_idle == 0
    clock[0] = 61.0
    found.rest(1)
    assert found.first_idle is None and boxes[0].told == ["wake", "rest"]
    happen(found, 0, "went")
    assert found.manned == (0, 0)
    found.wake(3)
    assert woken(boxes) == [0, 1, 2]


def test_idle_slots_stay_where_nothing_is_gained(boxes, clock):
    found = Roster(boxes, None)
    found.wake(1)
    happen(found, 0, "came", is_idle=True)
    clock[0] = 10.0**6
    found.rest(0)
    assert found.first_idle == 0


def test_slots_that_wait_for_workers_nobody_needs_any_more_rest(boxes, clock):
    found = Roster(boxes, 60.0)
    found.wake(3)
    happen(found, 0, "came", is_idle=True)
    found.give(0, 1)
    clock[0] = 50.0
    found.rest(0)
    assert woken(boxes) == [0, 1, 2], "they may come any moment"
    clock[0] = 61.0
    found.rest(2)
    assert woken(boxes) == [0, 1, 2], "as many trials wait"
    found.rest(1)
    assert [box.told[-1] for box in boxes] == ["wake", "rest", "wake"]
    found.wake(2)
    assert woken(boxes) == [0, 1, 2]
