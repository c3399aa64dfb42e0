"""Whether a trial fits: the room of a machine or a GPU, and the remedy where it does not."""

import os

import torch

from neft_ray.memory.fit import PROCESS_BYTES, Room, problem, room_of, trials_per_gpu
from neft_ray.memory.predict import Predictor
from tests.unit.trial_runs import small_config


def test_a_trial_that_does_not_fit_is_told_what_would():
    predictor = Predictor(small_config({"workers.num": 2, "batch.size_examples": 64}))
    needed = predictor.of(predictor.config).device
    assert problem("x.yaml", predictor, Room(needed, "here")) is None
    assert problem("x.yaml", predictor, Room(None, "unknown")) is None
    tight = problem("x.yaml", predictor, Room(needed - 1, "here"))
    assert tight.where == "x.yaml" and "GB (here)" in tight.what
    named = tight.remedy.split(" would need ")[0]
    assert predictor.of(dict(predictor.compared())[named]).device < needed
    assert "no strategy fits" in problem("x.yaml", predictor, Room(1.0, "here")).remedy


def test_workers_without_gpus_share_the_memory_of_the_machine():
    one = room_of(small_config({"workers.cpus": 1}), slots=1)
    cores = round(one.size / room_of(small_config({"workers.cpus": 1}), slots=None).size)
    assert cores == len(os.sched_getaffinity(0))
    two = room_of(small_config({"workers.num": 2, "workers.cpus": cores}), slots=1)
    assert two.size == one.size / 2


def test_small_trials_are_told_to_share_a_gpu(monkeypatch):
    monkeypatch.setattr("neft_ray.memory.fit.num_cores", lambda: 6)
    alone = Predictor(small_config({"workers.gpus": 1.0, "workers.cpus": 1}))
    one = alone.of(alone.config).device + PROCESS_BYTES
    assert trials_per_gpu(alone, Room(3.5 * one, "a GPU")) == 3
    assert trials_per_gpu(alone, Room(30 * one, "a GPU")) == 6, "a core each"
    assert trials_per_gpu(alone, Room(0.5 * one, "a GPU")) == 1
    assert trials_per_gpu(alone, Room(None, "unknown")) == 1
    for values in ({"workers.gpus": 0.5}, {"workers.gpus": 1.0, "workers.num": 2}):
        assert trials_per_gpu(Predictor(small_config(values)), Room(30 * one, "a GPU")) == 1


def test_gpus_that_are_not_here_are_unknown(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    room = room_of(small_config({"workers.gpus": 1.0}), slots=None)
    assert room.size is None and "unknown" in room.what
