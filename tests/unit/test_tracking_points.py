"""The log of points: what is on disk, after a resume, torn, damaged, with the disk full."""

import math
import pickle
import subprocess
import sys
import time

import pytest

from neft_ray.errors import UserError
from neft_ray.tracking.points import MetricsLog, read_points
from tests.unit.full_disk import full_disk


def values(path, name):
    return [(p.step, p.metrics[name]) for p in read_points(path) if name in p.metrics]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials" / "t007" / "metrics.jsonl"


def test_points_read_back_as_they_were_logged(path):
    before = time.time() * 1000
    log = MetricsLog(path)
    log.log(0, {"train/loss": 3.0, "system/cpu α": 7})
    log.log(1, {"train/loss": 0.1 + 0.2})
    log.close()
    first, second = read_points(path)
    assert first.metrics == {"train/loss": 3.0, "system/cpu α": 7.0}
    assert (second.step, second.metrics) == (1, {"train/loss": 0.1 + 0.2})
    assert before - 1 <= first.timestamp_ms <= second.timestamp_ms <= time.time() * 1000
    assert [p.step for p in read_points(path, first.end_bytes)] == [1]
    assert second.end_bytes == path.stat().st_size


def test_nan_and_infinities_are_values(path):
    log = MetricsLog(path)
    log.log(1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    (point,) = read_points(path)
    assert math.isnan(point.metrics["a"])
    assert (point.metrics["b"], point.metrics["c"]) == (math.inf, -math.inf)


def test_a_point_is_on_disk_once_log_returns(path):
    log = MetricsLog(path)
    log.log(1, {"loss": 1.0})
    assert values(path, "loss") == [(1, 1.0)]


def test_steps_computed_again_are_dropped_and_keep_their_first_timestamp(path):
    log = MetricsLog(path)
    for step in (1, 2, 3):
        log.log(step, {"loss": float(step)})
    log.log(2, {"eval": 20.0})
    log.close()
    first = [p.timestamp_ms for p in read_points(path)]
    time.sleep(0.01)
    resumed = MetricsLog(path)
    for step in (2, 3, 4):
        resumed.log(step, {"loss": float(step), "eval": 10.0 * step})
    resumed.close()
    assert values(path, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert values(path, "eval") == [(2, 20.0), (3, 30.0), (4, 40.0)]
    assert [p.timestamp_ms for p in read_points(path)][:4] == first


def test_a_torn_last_line_is_no_point_and_is_cut_when_the_log_is_opened(path):
    log = MetricsLog(path)
    log.log(1, {"loss": 1.0})
    log.log(2, {"loss": 2.0})
    log.close()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        assert len(list(read_points(path))) == kept
        resumed = MetricsLog(path)
        resumed.log(2, {"loss": 9.0})
        resumed.close()
        assert values(path, "loss") == [(1, 1.0)] * kept + [(2, 9.0)]


def test_a_damaged_line_in_the_middle_is_an_error_that_names_the_file(path):
    log = MetricsLog(path)
    log.log(1, {"loss": 1.0})
    log.close()
    path.write_bytes(b'{"step": 0}\n' + path.read_bytes())
    with pytest.raises(UserError, match=r"metrics\.jsonl: the line that ends at byte 12"):
        list(read_points(path))
    with pytest.raises(UserError, match="ends before byte 1000"):
        list(read_points(path, 1000))


def test_a_file_that_does_not_exist_has_no_points(path):
    assert list(read_points(path)) == []


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "../a", ".", "a/..", "a%", "x" * 251])
def test_names_that_mlflow_would_refuse_are_refused_at_once(path, name):
    log = MetricsLog(path)
    with pytest.raises(ValueError, match="is no metric name"):
        log.log(1, {name: 1.0})
    assert path.stat().st_size == 0


def test_a_full_disk_is_a_clear_error_and_leaves_whole_lines(tmp_path):
    with full_disk(tmp_path / "disk", 8192) as disk:
        path = disk / "metrics.jsonl"
        log = MetricsLog(path)
        with pytest.raises(
            UserError, match=r"metrics\.jsonl: cannot be written: disk full"
        ) as raised:
            for step in range(10_000):
                log.log(step, {"loss": 1.0, f"long/{'x' * 200}": 2.0})
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
        assert path.read_bytes().endswith(b"\n")
        steps = [p.step for p in read_points(path)]
        assert steps == list(range(step))
        subprocess.run(["mount", "-o", "remount,size=65536", str(disk)], check=True)
        log.log(step, {"loss": 1.0})  # the same log goes on once there is space
        resumed = MetricsLog(path)
        resumed.log(step + 1, {"loss": 1.0})
        assert [p.step for p in read_points(path)] == [*range(step), step, step + 1]
        log.close()
        resumed.close()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        MetricsLog(tmp_path / "file" / "metrics.jsonl")


def test_logging_imports_neither_mlflow_nor_torch_nor_ray():
    code = (
        "import sys, neft_ray.tracking.points, neft_ray.tracking.cards, neft_ray.tracking.address\n"
        "print({'mlflow', 'torch', 'ray', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
