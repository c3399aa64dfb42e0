"""What tests of clusters wait for, and what they compare."""

import time

from neft_ray.journal import read_records

PATIENCE_SECONDS = 300.0


def wait_until(what, seconds=PATIENCE_SECONDS):
    """Return what a function returns once that is true; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain"
        time.sleep(1)
    return found


def wait_for_report(cluster, name, trial, at_least=1):
    """Wait until a trial of a run has made so many reports."""
    wait_until(lambda: len(getattr(cluster.records(name).get(trial), "reports", ())) >= at_least)


def submitted(done):
    """Return the name of the run that a command says it submitted."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("submitted ")]
    return line.split()[1]


def table(cluster, name):
    """Return what a sweep found: of every trial all that does not depend on the clock."""
    return table_of(cluster.run_folder(name))


def table_of(folder):
    """Return what the sweep of a run directory found."""
    return {
        number: (
            *(record.arm, dict(record.values), record.seed, record.status),
            [(report.step, dict(report.metrics)) for report in record.reports],
        )
        for number, record in read_records(folder / "journal.jsonl").items()
    }
