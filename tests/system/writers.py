"""Many processes that record a run each at the same time, as so many sweeps do."""

import os
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import describe
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mlflow_store import MlflowStore
from neft_ray.tracking.points import POINTS_FILE, MetricsLog

NUM_STEPS = 40


def record(uri: str | None, storage: Path, number: int) -> None:
    """Record a sweep with one trial from beginning to end; fail if anything went wrong."""
    root = storage / f"sweep-{number:02d}"
    store = MlflowStore(uri, storage, "together")
    mirror = MlflowMirror(store)
    describe(root, root.name, {"number": number}, {"kind": "sweep"})
    mirror.start_parent(root)
    trial = root / "trials" / "t000"
    describe(trial, f"t000 of {root.name}", {"noise.alpha": 15.0}, {"arm": "treatment"})
    with MirrorThread(mirror, interval_seconds=0.1, drain_seconds=240) as thread:
        thread.add(trial)
        log = MetricsLog(trial / POINTS_FILE)
        for step in range(1, NUM_STEPS + 1):
            log.log(step, {f"m{i}": step / (number + 1) + i for i in range(5)})
        log.close()
        thread.finish(trial, "FINISHED")
        thread.finish(root, "FINISHED")
    assert thread.num_waiting_points == 0


def main(uri: str, storage: str, num_writers: str) -> int:
    """Fork the writers once all is imported and warm, and return how many failed."""
    with TemporaryDirectory() as elsewhere:
        record(None, Path(elsewhere), 0)
    children = []
    for number in range(int(num_writers)):
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = 1
        try:
            record(uri or None, Path(storage), number)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
