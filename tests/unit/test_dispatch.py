"""The dispatcher: trials go where workers are, come back when these are gone, and not for ever."""

import errno
import json
import time
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from neft_ray.config.sweep import ObjectiveConfig
from neft_ray.errors import StorageError
from neft_ray.journal import FAILED, RUNNING, read_events
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep import dispatch
from neft_ray.sweep.dispatch import Calls, Dispatcher
from neft_ray.sweep.happened import Happened
from neft_ray.sweep.retention import Retention
from neft_ray.sweep.roster import Roster
from neft_ray.sweep.slot import HAPPENED
from tests.unit.sweep_runs import open_conductor, sweep_config

MAX_FAILURES = 2


class Box:
    """A mailbox that answers at once."""

    def __init__(self):
        self.is_manned, self.told = True, []

    def __getattr__(self, call):
        return SimpleNamespace(remote=lambda *given: self.answer(call, *given))

    def answer(self, call, *given):
        self.told.append((call, *given))
        return self.is_manned


class Sweep:
    """A dispatcher with slots that say what a test wants."""

    def __init__(self, root, num_slots=1, **search):
        self.conductor = open_conductor(sweep_config(**search), root)
        self.boxes = [Box() for _ in range(num_slots)]
        self.journal = root / "journal.jsonl"
        self.ended, self._num = [], 0
        run = RunDirectory(root)
        self.dispatcher = Dispatcher(
            self.conductor,
            SimpleNamespace(mailboxes=self.boxes),
            Roster(self.boxes, None),
            Retention(run, self.conductor.records, 3, ObjectiveConfig()),
            MAX_FAILURES,
            Calls(
                prepare=lambda record: SimpleNamespace(fields=record.number),
                reported=lambda record: None,
                ended=lambda record: self.ended.append((record.number, record.status)),
            ),
        )
        self.conductor.open()
        self.dispatcher.start_trials()

    def happen(self, slot, kind, trial=-1, **more):
        self._num += 1
        happened = Happened(self._num, kind, trial, is_idle=kind == "came", num_workers=1, **more)
        result = {HAPPENED: json.dumps(asdict(happened))}
        self.dispatcher.on_trial_result(None, SimpleNamespace(config={"slot": slot}), result)

    def given(self, slot):
        return [number for call, *number in self.boxes[slot].told if call == "post"]

    def events(self, kind):
        return [event for event in read_events(self.journal) if event["event"] == kind]


def check_budget(sweep):
    """Look at the budget two hours later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch.time, "time", lambda: time.time_ns() / 1e9 + 7200)
        sweep.dispatcher.check_budget()


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch.ray, "get", lambda answer: answer)
    return Sweep(tmp_path, num_slots=2, budget={"hours": 1})


def test_a_trial_starts_when_workers_have_come_and_not_before(sweep):
    assert [box.told for box in sweep.boxes] == [[("wake",)], [("wake",)]]
    assert not sweep.conductor.records
    sweep.happen(1, "came")
    assert sweep.given(1) == [[0]] and not sweep.given(0)
    assert [event["slots"] for event in sweep.events("hold")] == [1]


def test_a_trial_that_lost_its_workers_goes_on_where_there_are_some_before_any_other(sweep):
    sweep.happen(0, "came")
    sweep.happen(0, "crash", 0, reason="they died")
    sweep.happen(1, "came")
    assert sweep.given(1) == [[0]]
    sweep.happen(0, "came")
    assert sweep.given(0) == [[0], [1]]
    assert [event["reason"] for event in sweep.events("crash")] == ["they died"]
    assert [event["slots"] for event in sweep.events("hold")] == [1, 0, 1, 2]


def test_a_trial_whose_workers_die_too_often_is_given_up(sweep):
    for count in range(MAX_FAILURES + 1):
        assert (
            sweep.conductor.records.get(0) is None
            or sweep.conductor.records[0].num_crashes == count
        )
        sweep.happen(0, "came")
        sweep.happen(0, "crash", 0, reason="out of memory")
    record = sweep.conductor.records[0]
    assert (record.status, sweep.ended) == (FAILED, [(0, FAILED)])
    assert record.reason == "its workers died 3 times, at last: out of memory"
    sweep.happen(0, "came")
    assert sweep.given(0)[-1] == [1]


def test_leaving_a_machine_is_no_failure(sweep):
    for _ in range(2 * MAX_FAILURES):
        sweep.happen(0, "came")
        sweep.happen(0, "move", 0, reason="its machine is taken away after step 4")
    record = sweep.conductor.records[0]
    assert (record.status, record.num_crashes) == (RUNNING, 0)
    assert len(sweep.events("move")) == 2 * MAX_FAILURES
    again = open_conductor(sweep_config(), sweep.journal.parent)
    assert again.next_trial().number == 0


def test_a_trial_that_nobody_took_is_offered_to_the_next_slot(sweep):
    sweep.boxes[0].is_manned = False
    sweep.happen(0, "came")
    assert sweep.conductor.num_waiting and not sweep.dispatcher._roster.running
    sweep.happen(1, "came")
    assert sweep.given(1) == [[0]]
    assert len(sweep.events("suggest")) == 1


def test_workers_that_die_after_their_trial_was_stopped_change_nothing(sweep):
    sweep.happen(0, "came")
    sweep.conductor._write("cut", trial=0, reason="out")
    sweep.happen(0, "crash", 0, reason="they died")
    assert not sweep.events("crash") and sweep.ended == [(0, "stopped")]
    sweep.happen(0, "came")
    assert sweep.given(0)[-1] == [1]


def give_up(sweep, slot):
    """Do as Tune does with a slot that died too often."""
    trial = SimpleNamespace(config={"slot": slot}, should_recover=lambda: False)
    sweep.dispatcher.on_trial_error(None, trial)


@pytest.mark.parametrize("is_idle", [True, False])
def test_of_a_slot_that_is_given_up_another_one_takes_the_trial(sweep, is_idle):
    sweep.happen(0, "came")
    if is_idle:
        sweep.dispatcher.is_stopping = True
        sweep.happen(1, "came")
        sweep.dispatcher.is_stopping = False
    give_up(sweep, 0)
    if not is_idle:
        sweep.happen(1, "came")
    assert sweep.given(1) == [[0]]
    assert "could not be kept alive" in sweep.events("crash")[0]["reason"]


def test_a_slot_that_is_given_up_after_its_trial_was_stopped_changes_nothing(sweep):
    sweep.happen(0, "came")
    sweep.conductor._write("cut", trial=0, reason="out")
    give_up(sweep, 0)
    assert not sweep.events("crash") and sweep.ended == [(0, "stopped")]
    sweep.happen(1, "came")
    assert sweep.given(1) == [[1]], "the stopped trial does not run again"


def test_a_sweep_that_lost_all_its_slots_says_so(sweep):
    sweep.happen(0, "came")
    give_up(sweep, 0)
    assert sweep.dispatcher.error is None, "another slot is left"
    give_up(sweep, 1)
    assert "no slot could be kept alive" in str(sweep.dispatcher.error)


@pytest.mark.parametrize("call", [lambda sweep: give_up(sweep, 0), check_budget])
def test_a_disk_that_is_full_ends_the_sweep_without_a_traceback(call, sweep, monkeypatch):
    sweep.happen(0, "came")

    def full(*given, **fields):
        raise StorageError.of(sweep.journal, OSError(errno.ENOSPC, ""))

    monkeypatch.setattr(sweep.conductor, "_write", full)
    call(sweep)
    assert "disk full" in str(sweep.dispatcher.error)


def test_a_trial_that_waited_for_workers_when_the_budget_ended_is_told_of(sweep):
    sweep.happen(0, "came")
    sweep.happen(0, "crash", 0, reason="they died")
    check_budget(sweep)
    record = sweep.conductor.records[0]
    assert (record.status, sweep.ended) == ("stopped", [(0, "stopped")])
