"""What a worker writes into a trial's folder beside what it trains."""

import pytest

from neft_ray import worker
from neft_ray.errors import bad_input


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory"), bad_input("x.yaml", "is bad", "mend it")]
)
def test_whatever_ends_a_trial_is_in_its_log(tmp_path, monkeypatch, error):
    monkeypatch.setattr(worker, "_rank", lambda: 0)
    with pytest.raises(type(error)), worker._in_folder(tmp_path / "t001"):
        raise error
    log = (tmp_path / "t001" / "log-0.txt").read_text(encoding="utf-8")
    assert str(error) in log and "Traceback" in log
