"""The mailbox of a slot: a report is answered even where nobody decides any more."""

import asyncio

import pytest

from neft_ray.journal import CANCELLED, STOPPED
from neft_ray.sweep.mailbox import Mailbox


async def with_a_trial():
    mailbox = Mailbox(max_failures=1, warm=True, secrets={})
    await mailbox.post({"number": 4})
    await mailbox.take(0, "process")
    return mailbox


@pytest.mark.parametrize("stops_first", [True, False])
def test_a_trial_that_is_asked_to_stop_may_still_report_and_end(stops_first):
    async def run():
        mailbox = await with_a_trial()
        stopping = None
        if stops_first:  # as when a save was pending
            stopping = asyncio.create_task(mailbox.stop())
            await asyncio.sleep(0)
        reporting = asyncio.create_task(mailbox.report("process", 4, 8, {}))
        await asyncio.sleep(0)
        stopping = stopping or asyncio.create_task(mailbox.stop())
        assert await asyncio.wait_for(reporting, 10) is True
        await mailbox.ended("process", STOPPED, "")
        await asyncio.wait_for(stopping, 10)
        return [(h.kind, h.step, h.status) for h in mailbox._happened]

    assert asyncio.run(run()) == [("report", 8, ""), ("end", 0, STOPPED)]


@pytest.mark.parametrize("stops", [True, False])
def test_a_report_waits_for_the_decision(stops):
    async def run():
        mailbox = await with_a_trial()
        reporting = asyncio.create_task(mailbox.report("process", 4, 8, {}))
        happened = await mailbox.next_happened(0)
        assert not reporting.done()
        await mailbox.decide(happened.id, stops)
        return await asyncio.wait_for(reporting, 10)

    assert asyncio.run(run()) is stops


@pytest.mark.parametrize("with_trial", [True, False])
def test_who_leaves_ends_the_trial_first_and_sends_the_workers_home(with_trial):
    async def run():
        mailbox = (
            await with_a_trial() if with_trial else Mailbox(max_failures=1, warm=True, secrets={})
        )
        taking = asyncio.create_task(mailbox.take(0, "process"))
        waiting = asyncio.create_task(mailbox.next_happened(0))
        await asyncio.sleep(0)
        leaving = asyncio.create_task(mailbox.leave())
        await asyncio.sleep(0)
        assert await mailbox.is_over()
        if with_trial:
            await asyncio.wait_for(mailbox.wait_for_stop(4), 10)
            assert not taking.done(), "its trial has not ended"
            await mailbox.ended("process", STOPPED, "")
        await asyncio.wait_for(leaving, 10)
        assert await asyncio.wait_for(taking, 10) is None
        assert (await asyncio.wait_for(waiting, 10)).id == 1, "whoever waits goes on"
        return [h.kind for h in mailbox._happened]

    assert asyncio.run(run()) == (["end", "left"] if with_trial else ["left"])


@pytest.mark.parametrize(("cancelled", "told"), [(4, CANCELLED), (3, STOPPED)])
def test_only_the_trial_that_is_meant_is_cancelled(cancelled, told):
    async def run():
        mailbox = await with_a_trial()
        assert await mailbox.present() == 4
        waiting = asyncio.create_task(mailbox.wait_for_stop(4))
        await mailbox.cancel(cancelled)
        await asyncio.sleep(0)
        assert waiting.done() or cancelled != 4
        stopping = asyncio.create_task(mailbox.stop())
        answer = await asyncio.wait_for(waiting, 10)
        await mailbox.ended("process", answer, "")
        await asyncio.wait_for(stopping, 10)
        assert await mailbox.present() is None
        await mailbox.post({"number": 5})  # a wish is for one trial alone
        assert not mailbox._stops(5)
        return answer

    assert asyncio.run(run()) == told


def test_workers_are_told_secrets():
    async def run():
        return await Mailbox(max_failures=1, warm=True, secrets={"HF_TOKEN": "x"}).secrets()

    assert asyncio.run(run()) == {"HF_TOKEN": "x"}
