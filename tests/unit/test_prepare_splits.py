"""Rows fall into splits by their prompts, whatever other rows there are."""

from neft_ray.config.data import DataConfig, SplitConfig
from neft_ray.data.prepare import tokenize
from neft_ray.data.split import Split
from tests.unit.data_rows import row, some_rows, texts, write


def test_duplicates_and_near_copies_fall_into_one_split(tmp_path, tokenizer):
    rows = [
        row(text.format(i), output)
        for i in range(60)
        for text, output in [("Is {} even?", "Yes."), ("Is {} even?", "No."), ("even is {}", "So.")]
    ]
    halves = SplitConfig(select_fraction=0.3, report_fraction=0.3)
    source = write(tmp_path / "rows.jsonl", rows)
    config = DataConfig(train=source, template="question", split=halves)
    splits = tokenize(config, tokenizer).splits.reshape(60, 3)
    assert (splits == splits[:, :1]).all()
    assert set(splits.flat) == set(Split)


def test_splits_of_rows_do_not_move_when_rows_are_added_or_reordered(tmp_path, tokenizer):
    def split_of_prompt(name, rows):
        config = DataConfig(train=write(tmp_path / name, rows), template="question")
        data = tokenize(config, tokenizer)
        return {p: split for split in Split for p, _ in texts(data, tokenizer, split)}

    rows = some_rows(80)
    before = split_of_prompt("before.jsonl", rows)
    after = split_of_prompt("after.jsonl", [*some_rows(30, "New"), *reversed(rows)])
    assert len(after) == 110
    assert {prompt: after[prompt] for prompt in before} == before


def test_a_held_out_file_is_halved_and_its_prompts_leave_the_training_rows(tokenized, tokenizer):
    held_out = some_rows(60, "Held out")
    rows = [*some_rows(20), row("held OUT: 7", "Otherwise."), held_out[8]]
    data = tokenized(rows, held_out)
    assert data.summary["rows"]["dropped: prompt is held out"] == 2
    assert len(data.rows(Split.TRAIN)) == 20
    select, report = (set(texts(data, tokenizer, s)) for s in (Split.SELECT, Split.REPORT))
    assert len(select) + len(report) == 60
    assert min(len(select), len(report)) > 15
    assert not select & report
