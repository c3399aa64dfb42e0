"""A stand-in is the sweep in small: what stays, what is swapped and said, what it is made of."""

import json

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from neft_ray.config.load import dump_sweep, load_sweep, parse_sweep
from neft_ray.config.recipes import find_sweep_file, recipes
from neft_ray.data.formats import FORMATS, read_conversations
from neft_ray.errors import UserError
from neft_ray.model import check_model, load_tokenizer
from neft_ray.pipeline.session import open_data
from neft_ray.report.results import gather
from neft_ray.report.words import headline
from neft_ray.stand_in import make, stand_in_for
from neft_ray.stand_in.data import WRITERS, builtin_rows
from neft_ray.stand_in.families import FAMILIES, chats, family_of
from neft_ray.stand_in.model import make_model
from neft_ray.strategy import checks
from tests.unit.report_runs import SyntheticRun

RECIPES = [recipe for recipe in recipes() if not recipe.name.startswith("alpaca-260k")]
KEPT = ("strategy", "noise", "optimizer")


def recipe(name, tmp_path, *options):
    return load_sweep(find_sweep_file(name), [f"storage={tmp_path}", *options])


@pytest.mark.parametrize("shipped", RECIPES, ids=lambda shipped: shipped.name)
def test_every_recipe_has_a_small_one_that_is_a_sweep_of_its_kind(shipped, tmp_path):
    config = load_sweep(shipped.file, [f"storage={tmp_path}"])
    made = stand_in_for(config).config
    assert [getattr(made, key) for key in KEPT] == [getattr(config, key) for key in KEPT]
    assert made.sweep.space["noise.alpha"] == config.sweep.space["noise.alpha"]
    assert made.sweep.arms == config.sweep.arms
    assert (made.data.format, made.data.template) == (config.data.format, config.data.template)
    assert (made.model.lora, made.model.dtype) == (config.model.lora, config.model.dtype)
    assert made.model.quantization == config.model.quantization
    assert made.workers.gpus == 0 and made.workers.most <= 2
    assert parse_sweep(dump_sweep(made), "x").name.endswith("-stand-in")
    data = open_data(made)  # it is tokenized with its own tokenizer, in the recipe's template
    assert 8 <= data.num_steps(made.trial) <= 40


def test_all_that_differs_is_said(tmp_path):
    config = recipe("paper/llama2-13b-evol-instruct", tmp_path)
    made = stand_in_for(config)
    said = {swap.split(":")[0] for swap in made.swaps}
    assert {"model.path", "data.train", "workers.num", "name", "training.epochs"} <= said
    before, after = (c.model_dump(mode="json") for c in (config, made.config))
    for key in said:
        for word in key.split("."):
            before, after = before[word], after[word]
        assert before != after
        before, after = (c.model_dump(mode="json") for c in (config, made.config))
    for key in said:
        *parents, last = key.split(".")
        section, small = before, after
        for word in parents:
            section, small = section[word], small[word]
        small[last] = section[last]
    assert before == after, "something else differs"


def test_it_is_the_same_every_time(tmp_path):
    config = recipe("paper/llama1-7b-alpaca", tmp_path)
    first = stand_in_for(config)
    weights = (tmp_path / make.FOLDER).rglob("model.safetensors")
    stamps = {file: file.stat().st_mtime_ns for file in weights}
    assert stamps and stand_in_for(config) == first
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


def test_four_bits_are_left_out_aloud_where_they_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    made = stand_in_for(recipe("paper/qlora-llama1-30b", tmp_path))
    assert made.config.model.quantization is None and made.config.model.lora is not None
    (swap,) = [swap for swap in made.swaps if swap.startswith("model.quantization")]
    assert swap.endswith("(bitsandbytes is missing: NOT tried here)")


def test_workers_that_come_and_go_still_may(tmp_path):
    made = stand_in_for(recipe("paper/llama1-7b-alpaca", tmp_path, "workers.num=[4, 8]"))
    assert made.config.workers.num == (1, 2)


def test_lengths_that_are_searched_are_fewer(tmp_path):
    made = stand_in_for(recipe("ablations/epochs", tmp_path))
    assert made.config.sweep.space["training.epochs"].corners == (1, 2, 3)
    assert any(swap.startswith("sweep.space.training.epochs") for swap in made.swaps)


@pytest.mark.parametrize(("every", "grace", "small"), [(3, 6, 3), (2, 6, 4), (7, 14, 4)])
def test_trials_are_still_cut_where_they_are_evaluated(tmp_path, every, grace, small):
    scheduler = f"sweep.scheduler={{kind: asha, grace_steps: {grace}}}"
    options = (f"training.eval_every_steps={every}", scheduler)
    made = stand_in_for(recipe("paper/llama1-7b-alpaca", tmp_path, *options)).config
    assert made.sweep.scheduler.grace_steps == small


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["model.path=some/bert"], "some/bert: its name is that of no family"),
        (["sweep.space.model.path.choice=[a, b]"], "a stand-in is one model"),
    ],
)
def test_what_has_no_stand_in_is_refused(options, words, tmp_path):
    with pytest.raises(UserError, match=words):
        stand_in_for(recipe("paper/llama1-7b-alpaca", tmp_path, *options))


@pytest.mark.parametrize(
    ("path", "name", "has_chat"),
    [
        ("meta-llama/Llama-2-7b-hf", "Llama 1 and 2", False),
        ("meta-llama/Llama-2-7b-chat-hf", "Llama 1 and 2", True),
        ("huggyllama/llama-30b", "Llama 1 and 2", False),
        ("meta-llama/Llama-3.2-1B", "Llama 3", False),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "Llama 3", True),
        ("facebook/opt-6.7b", "OPT", False),
        ("mistralai/Mistral-7B-v0.3", "Mistral", False),
        ("Qwen/Qwen3-8B-Base", "Qwen3", False),
        ("Qwen/Qwen3-8B", "Qwen3", True),
        ("google/gemma-3-1b-pt", "Gemma 3", False),
        ("google/gemma-3-1b-it", "Gemma 3", True),
    ],
)
def test_families_are_known_by_their_names(path, name, has_chat):
    found, family = family_of(path)
    assert (found, chats(family, path)) == (name, has_chat)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_small_model_is_one_of_its_family(name, tmp_path):
    family = FAMILIES[name]
    make_model(family, True, tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == family.model_type
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() < 500_000
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.bos_token == family.first
    assert (tokenizer.eos_token, tokenizer.pad_token) == (family.last, family.pad)
    tokens = tokenizer("a lamp")["input_ids"]
    assert (tokenizer.decode(tokens[:1]) == family.first) == (family.first is not None)
    assert all(len(tokenizer.tokenize(other)) == 1 for other in family.others)


@pytest.mark.parametrize("name", [name for name, it in FAMILIES.items() if it.chat_template])
def test_its_chat_template_can_be_trained_in(name, tmp_path):
    paths = {"Llama 1 and 2": "llama-2-chat", "Llama 3": "llama-3-instruct", "Qwen3": "qwen3"}
    path = paths.get(name) or {"Mistral": "mistral-instruct", "Gemma 3": "gemma-3-it"}[name]
    options = [f"model.path={path}", "data.template=chat", "data.format=messages"]
    made = stand_in_for(recipe("paper/llama1-7b-alpaca", tmp_path, *options)).config
    check_model(made.model, load_tokenizer(made.model))
    rows = open_data(made).data(made.trial).summary["rows"]
    assert rows["train"] > 30 and not any(key.startswith("dropped") for key in rows)


@pytest.mark.parametrize("name", FORMATS)
def test_rows_can_be_written_in_every_format(name, tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = list(WRITERS[name](builtin_rows("train")[:20]))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(read_conversations(str(file), name)) >= 10


def test_conversations_have_one_and_two_questions():
    talks = [row["messages"] for row in WRITERS["messages"](builtin_rows("train")[:20])]
    assert {len(talk) for talk in talks} == {2, 4}
    assert sum(map(len, talks)) == 40


def test_a_report_says_in_its_headline_that_it_is_one(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.trial(rows={40: 3.0})
    results = gather(synthetic.done())
    assert not headline(results).startswith("A stand-in")
    run = synthetic.run
    run.write_manifest(run.manifest | {"stand_in": ["name: a → b"]})
    assert headline(gather(run)).startswith("A stand-in, which shows nothing. ")
