"""A sweep is taken further: more trials, a narrower space, what an earlier one found."""

import json

from neft_ray.config.load import dump_sweep
from tests.unit.sweep_runs import ALPHA, RATE, Simulation, of, open_conductor, sweep_config, table


def test_a_finished_sweep_gets_more_trials_and_their_finalists(tmp_path):
    Simulation(sweep_config(num_trials=3), tmp_path).run()
    few = open_conductor(sweep_config(num_trials=3), tmp_path)
    assert few.is_finished
    finalists = of(few, "treatment", "finalist")
    more = Simulation(sweep_config(num_trials=9), tmp_path).run()
    assert [len(r) >= 9 for r in (of(more, "treatment"), of(more, "control"))] == [True, True]
    again = of(more, "treatment", "finalist")
    assert [f.number for f in again][: len(finalists)] == [f.number for f in finalists]
    done = [r for r in of(more, "treatment") if r.status == "completed"]
    best = min(done, key=lambda r: r.objective("best"))
    assert [f.seed for f in again if f.values == best.values] == [1, 2]


def test_a_narrower_space_takes_the_sweep_on_and_what_was_found_counts(tmp_path):
    searcher = {"kind": "optuna", "num_startup_trials": 2}
    wide = sweep_config(searcher=searcher)
    first = Simulation(wide, tmp_path).run()
    narrow = {ALPHA: {"choice": [10]}, RATE: {"loguniform": [5e-4, 1e-3]}}
    config = sweep_config(searcher=searcher, space=narrow, num_trials=12)
    conductor = Simulation(config, tmp_path).run()
    assert table(conductor)[: len(table(first))] == table(first)
    new = [r for r in of(conductor, "treatment") if r.number >= len(first.records)]
    assert new and all(5e-4 <= r.values[RATE] <= 1e-3 and r.values[ALPHA] == 10 for r in new)


def test_a_warm_start_teaches_the_searcher_and_is_kept_in_the_journal(tmp_path):
    searcher = {"kind": "optuna", "num_startup_trials": 1}
    early = tmp_path / "early"
    taught = Simulation(sweep_config(num_trials=12), early).run()
    (early / "sweep.yaml").write_text(dump_sweep(sweep_config(num_trials=12)))
    cold = sweep_config(searcher=searcher)
    warm = sweep_config(searcher=searcher, warm_start=[str(early)])
    first = [
        open_conductor(config, tmp_path / name).next_trial().values
        for name, config in (("cold", cold), ("warm", warm))
    ]
    assert first[0] != first[1], "what is known from before matters from the first trial on"
    (early / "journal.jsonl").unlink()
    disturbed = Simulation(warm, tmp_path / "warm").run()
    assert len(of(disturbed, "treatment")) >= 6, "trials of before do not count"
    events = [json.loads(line) for line in (tmp_path / "warm" / "journal.jsonl").open()]
    assert events[0]["event"] == "warm_start"
    assert {name: len(known) for name, known in events[0]["priors"].items()} == {
        arm: len(of(taught, arm)) for arm in ("treatment", "control")
    }
