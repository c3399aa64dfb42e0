"""The mailbox of a slot: a trial is where workers are; whoever is gone has nothing to say."""

import asyncio

import pytest

from neft_ray.journal import CANCELLED, MOVED, STOPPED
from neft_ray.sweep.mailbox import Mailbox

ORDER = {"number": 4}
CAME = 2
"""Number of the event that says so; the one before says that they were woken."""


async def manned(*ranks, warm=True):
    """A mailbox to which workers have come."""
    mailbox = Mailbox(warm, secrets={})
    await mailbox.wake()
    await mailbox.reopen()
    for rank in ranks or (0,):
        waiting = asyncio.create_task(
            mailbox.take(rank, len(ranks or (0,)), f"process {rank}", f"node {rank}")
        )
        await asyncio.sleep(0)
        waiting.cancel()
    return mailbox


async def with_a_trial(*ranks, warm=True):
    """One whose workers have taken a trial."""
    mailbox = await manned(*ranks, warm=warm)
    assert await mailbox.post(ORDER)
    for rank in ranks or (0,):
        assert (
            await mailbox.take(rank, len(ranks or (0,)), f"process {rank}", f"node {rank}") == ORDER
        )
    return mailbox


def told(mailbox):
    """What was said since the workers came."""
    return [(h.kind, h.trial, h.is_idle) for h in mailbox._happened if h.id > CAME]


def soon(task):
    return asyncio.wait_for(task, 10)


@pytest.mark.parametrize("stops_first", [True, False])
def test_a_trial_that_is_asked_to_stop_may_still_report_and_end(stops_first):
    async def run():
        mailbox = await with_a_trial()
        stopping = None
        if stops_first:  # as when a save was pending
            stopping = asyncio.create_task(mailbox.stop())
            await asyncio.sleep(0)
        reporting = asyncio.create_task(mailbox.report("process 0", 4, 8, {}))
        await asyncio.sleep(0)
        stopping = stopping or asyncio.create_task(mailbox.stop())
        assert await soon(reporting) is True
        await mailbox.ended("process 0", STOPPED, "")
        await soon(stopping)
        return [(h.kind, h.step, h.status) for h in list(mailbox._happened)[-2:]]

    assert asyncio.run(run()) == [("report", 8, ""), ("end", 0, STOPPED)]


@pytest.mark.parametrize("stops", [True, False])
def test_a_report_waits_for_the_decision(stops):
    async def run():
        mailbox = await with_a_trial()
        reporting = asyncio.create_task(mailbox.report("process 0", 4, 8, {}))
        happened = await mailbox.next_happened(CAME)
        assert not reporting.done()
        await mailbox.decide(happened.id, stops)
        return await soon(reporting)

    assert asyncio.run(run()) is stops


@pytest.mark.parametrize("with_trial", [True, False])
def test_who_leaves_ends_the_trial_first_and_sends_the_workers_home(with_trial):
    async def run():
        mailbox = await (with_a_trial() if with_trial else manned())
        taking = asyncio.create_task(mailbox.take(0, 1, "process 0", "node 0"))
        waiting = asyncio.create_task(mailbox.next_happened(CAME))
        await asyncio.sleep(0)
        leaving = asyncio.create_task(mailbox.leave())
        await asyncio.sleep(0)
        assert not (await mailbox.standing()).is_wanted
        if with_trial:
            assert await soon(mailbox.wait_for_stop(4)) == STOPPED
            assert not taking.done(), "its trial has not ended"
            await mailbox.ended("process 0", STOPPED, "")
        await soon(leaving)
        assert await soon(taking) is None
        assert (await soon(waiting)).id == 3, "whoever waits goes on"
        last = mailbox._happened[-1].id
        assert not await mailbox.is_over(last - 1), "the last word is to be told"
        assert await mailbox.is_over(last)
        return [h.kind for h in mailbox._happened]

    assert asyncio.run(run()) == (["end", "went"] if with_trial else ["went"])


@pytest.mark.parametrize(("cancelled", "told"), [(4, CANCELLED), (3, STOPPED)])
def test_only_the_trial_that_is_meant_is_cancelled(cancelled, told):
    async def run():
        mailbox = await with_a_trial()
        assert (await mailbox.standing()).trial == 4
        waiting = asyncio.create_task(mailbox.wait_for_stop(4))
        await mailbox.cancel(cancelled)
        await asyncio.sleep(0)
        assert waiting.done() or cancelled != 4
        stopping = asyncio.create_task(mailbox.stop())
        answer = await soon(waiting)
        await mailbox.ended("process 0", answer, "")
        await soon(stopping)
        assert (await mailbox.standing()).trial is None
        await mailbox.post({"number": 5})  # a wish is for one trial alone
        assert not mailbox._stops(5)
        return answer

    assert asyncio.run(run()) == told


def test_workers_are_told_secrets():
    async def run():
        return await Mailbox(warm=True, secrets={"HF_TOKEN": "x"}).secrets()

    assert asyncio.run(run()) == {"HF_TOKEN": "x"}


def test_no_trial_is_laid_out_where_no_workers_are():
    async def run():
        mailbox = Mailbox(warm=True, secrets={})
        assert not await mailbox.post(ORDER), "none have come"
        mailbox = await manned()
        await mailbox.lost("they died")
        assert not await mailbox.post(ORDER), "they are gone"
        mailbox = await manned()
        await mailbox.rest()
        assert not await mailbox.post(ORDER), "they are sent home"
        return (await mailbox.standing()).is_wanted

    assert asyncio.run(run()) is False


def test_the_trial_of_workers_that_died_is_handed_back_and_they_are_not_listened_to():
    async def run():
        mailbox = await with_a_trial(0, 1)
        reporting = asyncio.create_task(mailbox.report("process 0", 4, 8, {}))
        await mailbox.next_happened(CAME)
        await mailbox.lost("worker 1: it died")
        assert told(mailbox) == [("report", 4, False), ("crash", 4, False)]
        assert await mailbox.report("process 0", 4, 9, {}) is True
        await mailbox.ended("process 0", STOPPED, "")
        assert await mailbox.take(0, 1, "process 0", "node 0") is None
        assert len(told(mailbox)) == 2
        reporting.cancel()
        taking = asyncio.create_task(mailbox.take(0, 1, "another", "node 2"))
        await asyncio.sleep(0)
        assert told(mailbox)[2:] == [("came", -1, True)]
        assert await mailbox.post({"number": 5})
        return await soon(taking)

    assert asyncio.run(run()) == {"number": 5}


def test_a_trial_that_nobody_had_begun_is_no_crash():
    async def run():
        mailbox = await manned()
        await mailbox.post(ORDER)
        await mailbox.lost("they died")
        return told(mailbox)

    assert asyncio.run(run()) == [("move", 4, False)]


def test_idle_workers_that_died_are_missed():
    async def run():
        mailbox = await manned()
        await mailbox.lost("they died")
        await mailbox.lost("they died")
        return told(mailbox)

    assert asyncio.run(run()) == [("went", -1, False)]


def test_a_trial_that_was_to_stop_has_stopped_when_its_workers_died():
    async def run():
        mailbox = await with_a_trial()
        stopping = asyncio.create_task(mailbox.stop())
        await asyncio.sleep(0)
        await mailbox.lost("they died")
        await soon(stopping)
        (happened,) = [h for h in mailbox._happened if h.trial == 4]
        return happened.kind, happened.status

    assert asyncio.run(run()) == ("end", STOPPED)


def test_a_trial_leaves_its_machine_with_a_checkpoint_and_the_workers_end():
    async def run():
        mailbox = await with_a_trial(0, 1)
        assert (await mailbox.standing()).nodes == {"node 0", "node 1"}
        waiting = asyncio.create_task(mailbox.wait_for_stop(4))
        await mailbox.move("its machine is taken away")
        await mailbox.move("its machine is taken away")
        assert await soon(waiting) == MOVED
        taking = asyncio.create_task(mailbox.take(1, 2, "process 1", "node 1"))
        await mailbox.ended("process 0", MOVED, "after step 3")
        assert mailbox._happened[-1].reason == "its machine is taken away after step 3"
        assert await soon(taking) is None
        standing = await mailbox.standing()
        assert standing.is_closed and standing.is_wanted, "others are to come"
        await mailbox.reopen()
        assert not mailbox._moving
        return told(mailbox)

    assert asyncio.run(run()) == [("move", 4, False)]


def test_idle_workers_leave_a_machine_at_once():
    async def run():
        mailbox = await manned()
        taking = asyncio.create_task(mailbox.take(0, 1, "process 0", "node 0"))
        await asyncio.sleep(0)
        await mailbox.move("its machine is taken away")
        assert await soon(taking) is None
        return told(mailbox)

    assert asyncio.run(run()) == [("went", -1, False)]


@pytest.mark.parametrize("warm", [True, False])
def test_a_slot_is_idle_after_a_trial_if_it_keeps_its_workers(warm):
    async def run():
        mailbox = await with_a_trial(warm=warm)
        await mailbox.ended("process 0", STOPPED, "")
        assert (await mailbox.standing()).is_closed is not warm
        return told(mailbox)

    assert asyncio.run(run()) == [("end", 4, warm)]
