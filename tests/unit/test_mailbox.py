"""The mailbox of a slot: a report is answered even where nobody decides any more."""

import asyncio

import pytest

from neft_ray.journal import STOPPED
from neft_ray.sweep.mailbox import Mailbox


async def with_a_trial():
    mailbox = Mailbox(max_failures=1, warm=True)
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
