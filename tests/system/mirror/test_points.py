"""Points in MLflow: each once, with its first time, however it was written."""

import math

from neft_ray.tracking.mirrored import MIRROR_FILE
from neft_ray.tracking.points import POINTS_FILE, MetricsLog, node_points_file, read_points
from tests.system.mirror.sweeps import log_steps


def test_every_point_arrives_once_with_its_first_timestamp(sweep):
    trial = sweep.trial()
    log = MetricsLog(trial / POINTS_FILE)
    log.log(1, {"loss": math.nan, "up": math.inf, "down": -math.inf, "système/α": 0.1 + 0.2})
    sweep.mirror.sync(trial)
    log.log(2, {"loss": 2.0})
    assert sweep.mirror.sync(trial) is False
    assert sweep.mirror.sync(trial) is False
    assert sweep.assert_exactly_once(trial) == 5
    (run,) = sweep.children()
    first, second = sweep.client.get_metric_history(run.info.run_id, "loss")
    points = list(read_points(trial / POINTS_FILE))
    assert math.isnan(first.value)
    assert (second.step, second.value, second.timestamp) == (2, 2.0, points[1].timestamp_ms)


def test_large_backlogs_and_wide_points_are_sent_in_batches(local):
    trial = local.trial()
    log_steps(trial, range(1, 1501))
    log = MetricsLog(trial / POINTS_FILE)
    log.log(1501, {f"wide/{i}": float(i) for i in range(2500)})
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 1500 * 3 + 2500


def test_a_crash_between_acknowledgement_and_keeping_the_offset_duplicates_nothing(sweep):
    trial = sweep.trial()
    log_steps(trial, range(1, 11))
    sweep.mirror.sync(trial)
    behind = (trial / MIRROR_FILE).read_text()
    log_steps(trial, range(11, 21))
    log = MetricsLog(trial / POINTS_FILE)
    log.log(21, {"loss": math.nan, "up": math.inf})
    sweep.mirror.sync(trial)
    (trial / MIRROR_FILE).write_text(behind)
    log.log(22, {"loss": 1.0})
    sweep.mirror.sync(trial)
    assert sweep.assert_exactly_once(trial) == 63


def test_a_line_that_is_still_being_written_is_sent_when_it_is_whole(local):
    trial = local.trial()
    log_steps(trial, [1])
    path = trial / POINTS_FILE
    line = path.read_bytes().replace(b'"step":1', b'"step":2')
    with path.open("ab") as file:
        file.write(line[:30])
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 3
    with path.open("ab") as file:
        file.write(line[30:])
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 6


def test_steps_computed_again_after_a_resume_are_not_sent_again(local):
    trial = local.trial()
    log_steps(trial, range(1, 31))
    local.mirror.sync(trial)
    log_steps(trial, range(20, 41))
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 120


def test_every_node_has_a_file_of_points_and_none_overwrites_another(sweep):
    trial = sweep.trial()
    log_steps(trial, range(1, 4))
    for node in (0, 1, 2):
        log = MetricsLog(node_points_file(trial, node))
        for step in (4, 5):
            log.log(step, {f"system/host{node}/cpu_utilization_percentage": 10.0 * node + step})
        sweep.mirror.sync(trial)
    sweep.mirror.sync(trial)
    assert sweep.assert_exactly_once(trial) == 9 + 6
    (run,) = sweep.children()
    last = {k: v for k, v in run.data.metrics.items() if k.startswith("system/")}
    assert last == {f"system/host{n}/cpu_utilization_percentage": 10 * n + 5 for n in range(3)}
