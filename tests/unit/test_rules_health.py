"""Trials that spike or stall are stopped; a finalist runs to its end."""

from tests.unit.sweep_runs import NUM_STEPS, Simulation, loss_of, open_conductor, sweep_config


def test_a_spike_is_stopped_as_diverged_and_enters_no_rung(tmp_path):
    config = sweep_config(scheduler={"kind": "asha", "grace_steps": 20, "eta": 2}, control=None)
    conductor = open_conductor(config, tmp_path)
    first, second, third = (conductor.next_trial() for _ in range(3))
    assert not conductor.report(first.number, 10, {"select_loss": 1.0})
    assert conductor.report(first.number, 20, {"select_loss": 3.5})
    assert first.status == "diverged"
    assert first.reason == "spiked: its select loss rose 2.5 nats above its lowest"
    assert not conductor.report(second.number, 20, {"select_loss": 5.0}), "the first of its rung"
    assert conductor.report(third.number, 20, {"select_loss": 6.0})
    assert open_conductor(config, tmp_path).records[first.number].status == "diverged"


def test_a_stalled_trial_is_stopped_and_patience_starts_at_the_best(tmp_path):
    config = sweep_config(
        scheduler={"kind": "none"}, health={"patience_evaluations": 2}, control=None
    )
    conductor = open_conductor(config, tmp_path)
    number = conductor.next_trial().number
    losses = [3.0, 3.1, 2.9, 2.9, 2.95]
    stops = [
        conductor.report(number, 10 * (n + 1), {"select_loss": loss})
        for n, loss in enumerate(losses)
    ]
    assert stops == [False, False, False, False, True]
    record = conductor.records[number]
    assert (record.status, record.reason) == (
        "stopped",
        "stalled: no lower select loss in 2 evaluations",
    )


def test_a_finalist_runs_to_its_end_whatever_it_does(tmp_path):
    def loss(config, step):
        return loss_of(config, step) + (5 if config.training.seed and step > 20 else 0)

    conductor = Simulation(sweep_config(), tmp_path, loss=loss).run()
    finalists = [r for r in conductor.records.values() if r.phase == "finalist"]
    assert finalists and {r.last_step for r in finalists} == {NUM_STEPS}
