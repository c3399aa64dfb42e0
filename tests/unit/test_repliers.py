"""Workers that answer prompts, as the driver sees them: what they say, and what they leave."""

from types import SimpleNamespace

import pytest

from neft_ray.errors import bad_input
from neft_ray.generate.replies import ENDED, Prompt, Reply
from neft_ray.sweep import repliers
from neft_ray.sweep.repliers import Collector, replies_of_workers
from neft_ray.sweep.worker_group import WorkerGroupError

PROMPTS = [Prompt(number, ()) for number in range(3)]


def reply(number):
    return Reply(number, ("text",), (1,), (ENDED,))


class Remote:
    """An actor in this process."""

    def __init__(self, actor):
        self._actor = actor

    def __getattr__(self, name):
        return SimpleNamespace(remote=getattr(self._actor, name))


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """Have prompts answered by workers that do as a test wants; return what came, in order."""
    scratch, numbers = tmp_path / "ray", []
    monkeypatch.setattr(repliers, "actor_here", lambda kind, *given: Remote(kind(*given)))
    monkeypatch.setattr(repliers.ray, "get", lambda answer: answer)

    def run(work):
        def trainer(answering, folder, collector):
            (folder / "slot").mkdir(parents=True)
            return SimpleNamespace(fit=lambda: work(collector))

        monkeypatch.setattr(repliers, "_trainer", trainer)
        replies_of_workers(
            None, PROMPTS, scratch, lambda came: numbers.extend(r.number for r in came)
        )
        return numbers

    yield run
    assert not scratch.exists(), "whatever happened"


def test_every_reply_comes_once(answered):
    def work(collector):
        collector.add.remote([reply(2), reply(0)])
        collector.add.remote([reply(0), reply(1)])  # of two workers that were given the same

    assert answered(work) == [2, 0, 1]


def test_only_what_has_no_reply_is_asked_again():
    collector = Collector(PROMPTS, {"HF_TOKEN": "secret"})
    collector.add([reply(1)])
    assert collector.begin() == ([PROMPTS[0], PROMPTS[2]], {"HF_TOKEN": "secret"})


def test_what_is_wrong_with_the_input_ends_it(answered):
    def work(collector):
        collector.fail.remote(bad_input("model", "has no weights", "name another"))

    with pytest.raises(Exception, match="has no weights; name another"):
        answered(work)


def test_workers_that_died_too_often_are_told(answered):
    def work(collector):
        raise RuntimeError("out of memory")

    with pytest.raises(WorkerGroupError, match="without all replies") as told:
        answered(work)
    assert "out of memory" in str(told.value.__cause__)
