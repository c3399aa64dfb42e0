"""The node's load, sampled at most once per interval, under MLflow's own names."""

import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

from neft_ray import system_metrics
from neft_ray.system_metrics import SystemMetrics
from neft_ray.tracking.points import MetricsLog


def test_nothing_is_due_at_once():
    metrics = SystemMetrics()
    assert metrics.due() == {}


def test_a_sample_is_due_after_an_interval_and_not_again_before_the_next(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(system_metrics.time, "monotonic", lambda: now)
    metrics = SystemMetrics()
    now += system_metrics.INTERVAL_SECONDS
    assert metrics.due()
    assert metrics.due() == {}
    now += system_metrics.INTERVAL_SECONDS
    assert metrics.due()


def test_values_are_plausible(monkeypatch):
    monkeypatch.setattr(system_metrics, "INTERVAL_SECONDS", 0.0)
    sample = SystemMetrics("a").due()
    for name, value in sample.items():
        assert name.startswith("system/a/")
        assert 0 <= value <= (100 if "percentage" in name else 1e8)
    assert sample["system/a/process_memory_usage_megabytes"] > 20
    used = sample["system/a/system_memory_usage_megabytes"]
    assert used > sample["system/a/process_memory_usage_megabytes"] / 2


def test_names_are_those_of_mlflows_own_monitor_where_it_has_one(monkeypatch):
    monkeypatch.setattr(system_metrics, "INTERVAL_SECONDS", 0.0)
    theirs = set()
    for monitor in (CPUMonitor(), DiskMonitor()):
        monitor.collect_metrics()
        theirs |= {f"system/a/{name}" for name in monitor.metrics}
    assert set(SystemMetrics("a").due()) - theirs == {"system/a/process_memory_usage_megabytes"}


@pytest.mark.parametrize(
    ("node", "shown"), [("gpu-1.local", "gpu-1.local"), ("a b/c", "a-b-c"), ("..x", "-x")]
)
def test_nodes_are_told_apart_by_names_that_mlflow_takes(node, shown, monkeypatch, tmp_path):
    monkeypatch.setattr(system_metrics, "INTERVAL_SECONDS", 0.0)
    sample = SystemMetrics(node).due()
    assert {name.split("/")[1] for name in sample} == {shown}
    MetricsLog(tmp_path / "metrics.jsonl").log(1, sample)


def test_a_node_is_called_after_its_host(monkeypatch):
    monkeypatch.setattr(system_metrics, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(system_metrics.socket, "gethostname", lambda: "here")
    assert all(name.startswith("system/here/") for name in SystemMetrics().due())
