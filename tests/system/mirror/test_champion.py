"""Models in MLflow: which version is the champion, that it loads, the files beside a run."""

import pytest

from neft_ray.tracking.champion import Candidate, register


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A Hugging Face folder with a random model of a few kilobytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    words = {word: i for i, word in enumerate(["<s>", "</s>", "<unk>", *"abcdefgh"])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(words), **shape, **heads)
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "README.md").write_text("# card")
    return folder


def candidate(sweep, folder, **changes):
    fields = {
        "folder": folder,
        "name": f"my.sweep-{sweep.root.parent.name}",
        "run_id": sweep.parent_id,
        "key": "a",
        "select_loss": 0.8,
        "data_hash": "1234",
        "description": "the best",
        "tags": {"neft_ray.lift_at_end": "-0.1"},
    }
    return Candidate(**{**fields, **changes})


def aliases(sweep):
    model = sweep.client.get_registered_model(f"my.sweep-{sweep.root.parent.name}")
    return {alias: str(version) for alias, version in model.aliases.items()}


def test_the_champion_loads_as_a_model_and_only_a_better_one_takes_the_alias(sweep, model_folder):
    import mlflow

    def registers(**changes):
        made = register(sweep.store, candidate(sweep, model_folder, **changes))
        return made.version, made.alias, made.remark

    version, alias, remark = registers()
    assert (version, alias) == ("1", "champion") and "there was none" in remark
    assert aliases(sweep) == {"champion": "1"}
    version, alias, remark = registers(key="b", select_loss=0.8)
    assert (version, alias) == ("2", "challenger")
    assert "0.8000 is not below 0.8000 of the champion, version 1" in remark
    version, alias, remark = registers(key="c", select_loss=0.1, data_hash="5678")
    assert (version, alias) == ("3", "challenger") and "cannot be compared" in remark
    assert aliases(sweep) == {"champion": "1", "challenger": "3"}
    version, alias, remark = registers(key="d", select_loss=0.7)
    assert (version, alias) == ("4", "champion") and "0.7000 beats 0.8000" in remark
    assert aliases(sweep) == {"champion": "4", "challenger": "3"}
    assert registers(key="d", select_loss=0.7)[:2] == ("4", "champion")
    assert registers(key="a")[:2] == ("1", "challenger"), "is registered already"
    assert aliases(sweep) == {"champion": "4", "challenger": "1"}
    name = f"my.sweep-{sweep.root.parent.name}"
    champion = sweep.client.get_model_version_by_alias(name, "champion")
    assert champion.description.startswith("the best\n\nis the champion: ")
    assert champion.tags["neft_ray.lift_at_end"] == "-0.1"
    assert champion.run_id == sweep.parent_id
    mlflow.set_tracking_uri(sweep.store.address.uri)
    try:
        pipeline = mlflow.transformers.load_model(f"models:/{name}@champion")
    finally:
        mlflow.set_tracking_uri(None)
    (made,) = pipeline("a b c", max_new_tokens=2, do_sample=False)
    assert made["generated_text"].startswith("a b c")


def test_a_challenger_that_becomes_the_champion_is_no_challenger_any_more(local, model_folder):
    register(local.store, candidate(local, model_folder))
    register(local.store, candidate(local, model_folder, key="b", select_loss=0.9))
    name = f"my.sweep-{local.root.parent.name}"
    local.client.delete_registered_model_alias(name, "champion")
    again = register(local.store, candidate(local, model_folder, key="b", select_loss=0.9))
    assert (again.version, aliases(local)) == ("2", {"champion": "2"})


def test_a_champion_that_people_chose_is_not_replaced_by_what_cannot_be_compared(
    local, model_folder
):
    name = f"my.sweep-{local.root.parent.name}"
    local.client.create_registered_model(name)
    theirs = local.client.create_model_version(name, str(model_folder))
    local.client.set_registered_model_alias(name, "champion", theirs.version)
    made = register(local.store, candidate(local, model_folder))
    assert "hash unknown" in made.remark
    assert aliases(local) == {"champion": "1", "challenger": "2"}


def test_files_are_kept_with_the_run(sweep, model_folder):
    sweep.store.log_artifacts(sweep.parent_id, model_folder, "report")
    found = {item.path for item in sweep.client.list_artifacts(sweep.parent_id, "report")}
    assert "report/README.md" in found
