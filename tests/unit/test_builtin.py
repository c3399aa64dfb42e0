"""What is shipped in `neft_ray/builtin` is what its generator writes, and is fit to fine-tune."""

import importlib.util
import json
import re
from itertools import islice, product
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

ROOT = Path(__file__).parents[2]
BUILTIN = ROOT / "neft_ray" / "builtin"
CARD = (BUILTIN / "base" / "README.md").read_text(encoding="utf-8")
SEED = int(re.findall(r"--seed (\d+)", CARD)[0])
Row = dict[str, str]


def _generator() -> ModuleType:
    """Loads tools/builtin/corpus.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("corpus", ROOT / "tools/builtin/corpus.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corpus = _generator()


def _shipped(name: str) -> list[Row]:
    lines = (BUILTIN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """The shipped tokenizer."""
    return AutoTokenizer.from_pretrained(BUILTIN / "base")


def test_a_seed_gives_the_same_text_twice_and_another_seed_gives_another() -> None:
    def write(seed: int) -> tuple[list[Row], list[str]]:
        return corpus.rows(seed, 30), list(islice(corpus.documents(f"{seed}"), 30))

    assert write(3) == write(3)
    assert all(one != other for one, other in zip(write(3), write(4), strict=True))


def test_shipped_rows_are_those_of_the_seed() -> None:
    train, held_out = _shipped("train"), _shipped("held_out")
    assert train + held_out == corpus.rows(SEED, len(train) + len(held_out))


def test_held_out_prompts_are_neither_repeated_nor_nearly_repeated_in_training() -> None:
    pairs = product(_shipped("train"), _shipped("held_out"))
    words = ((corpus.prompt_pairs(one), corpus.prompt_pairs(other)) for one, other in pairs)
    assert max(len(one & other) / len(one | other) for one, other in words) < corpus.MAX_OVERLAP


def test_pretraining_meets_exchanges_but_no_prompt_of_a_row() -> None:
    rows = _shipped("train") + _shipped("held_out")
    prompts = tuple("\n".join(filter(None, (r["instruction"], r["input"]))) + "\n" for r in rows)
    documents = list(islice(corpus.documents(f"{SEED} train"), 20_000))
    assert any(document.startswith("Make a riddle") for document in documents)
    assert not any(document.startswith(prompts) for document in documents)


def test_rows_are_short_under_the_shipped_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = _shipped("train") + _shipped("held_out")
    prompts = [f"Question: {row['instruction']}\n{row['input']}\nAnswer: " for row in rows]
    replies = [row["output"] for row in rows]
    assert max(len(ids) for ids in tokenizer(prompts)["input_ids"]) <= 64
    lengths = [len(ids) for ids in tokenizer(replies, add_special_tokens=False)["input_ids"]]
    assert min(lengths) >= 12
    assert max(lengths) <= 60


@pytest.mark.parametrize("text", ["", " a  b ", "naïve → 🦊\tend\n", "日本語 \x00 ɸ", "### \u200d"])
def test_tokenizer_gives_any_text_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_special_tokens_are_three_and_known_to_the_model(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    config = json.loads((BUILTIN / "base" / "config.json").read_text(encoding="utf-8"))
    ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert len(set(ids)) == 3
    assert ids == (config["pad_token_id"], config["bos_token_id"], config["eos_token_id"])


@torch.no_grad()
def test_shipped_model_reaches_the_loss_of_its_card(tokenizer: PreTrainedTokenizerBase) -> None:
    stated = re.search(r"held-out corpus loss \| ([\d.]+)", CARD)
    assert stated is not None
    model = AutoModelForCausalLM.from_pretrained(BUILTIN / "base")
    encoded = tokenizer(list(islice(corpus.documents("fresh"), 800)))["input_ids"]
    ids = torch.tensor([i for text in encoded for i in [*text, tokenizer.eos_token_id]])
    blocks = ids[: 96 * 256].view(96, 256)
    assert model(input_ids=blocks, labels=blocks).loss.item() == pytest.approx(
        float(stated[1]), rel=0.03
    )


def test_all_of_it_is_small() -> None:
    assert sum(file.stat().st_size for file in BUILTIN.rglob("*") if file.is_file()) < 4_000_000
