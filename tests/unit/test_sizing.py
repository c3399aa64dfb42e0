"""How many workers a group starts with where a group before it left to make place for more."""

import pytest
from ray.train import ScalingConfig

from neft_ray.config.workers import WorkersConfig
from neft_ray.sweep import sizing


@pytest.fixture
def group(monkeypatch):
    """A group that expects some workers while the cluster says one after another what is free."""

    def make(expected, *rooms):
        told = iter(rooms)
        monkeypatch.setattr(sizing, "room_for", lambda workers: next(told))
        workers = WorkersConfig(num=(1, 4))
        return sizing.Sizing(ScalingConfig(), workers, None, expected)

    return make


def test_it_waits_until_what_the_group_before_had_is_free_again(group, monkeypatch):
    monkeypatch.setattr(sizing, "LOOK_SECONDS", 0)
    made = group(2, 0, 1, 2, 1)
    assert made._room() == 2
    assert made._room() == 1, "what the next one finds is what there is"


def test_what_is_not_free_in_time_is_somebody_else_s(group, monkeypatch):
    monkeypatch.setattr(sizing, "RELEASE_SECONDS", 0)
    assert group(2, 1)._room() == 1


def test_without_a_group_before_it_takes_what_there_is(group):
    assert group(0, 3)._room() == 3
