"""The counter of live bytes: every storage once, for as long as it is there."""

import gc

import torch
from torch import nn

from neft_ray.memory.live import LiveBytes


def test_views_count_once_and_what_is_gone_not_at_all():
    counter = LiveBytes()
    with counter.counting():
        first = torch.zeros(1000)
        views = [first.view(10, 100), first[:5], first.t()]
        assert counter.now == 4000
        second = first + 1
        assert counter.now == counter.peak == 8000
        del first, views
        gc.collect()
        assert counter.now == 4000
        counter.reset_peak()
        second.add_(1)
        assert counter.peak == 4000
        second.untyped_storage().resize_(0)
        assert counter.now == 0
    assert torch.zeros(10).numel() == 10 and counter.now == 0


def test_tensors_made_before_count_once_they_are_used():
    weight, counter = nn.Linear(10, 10, bias=False).weight, LiveBytes()
    with counter.counting():
        out = weight.detach() * 2
        assert counter.now == 800
        meta = torch.empty(1000, device="meta") * 2
        assert counter.now == 800
    assert out.numel() == 100 and meta.numel() == 1000
