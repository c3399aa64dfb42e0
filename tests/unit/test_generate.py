"""A chat streams what greedy generation gives."""

import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from neft_ray.config.evaluation import REPETITION_PENALTY
from neft_ray.config.trial import ModelConfig
from neft_ray.errors import UserError
from neft_ray.generate import Chat
from neft_ray.model import resolve_path
from neft_ray.noise import EmbeddingNoise

BASE = Path(resolve_path("builtin:base"))


@pytest.fixture(scope="module")
def chat():
    return Chat(ModelConfig(path=str(BASE)), "question")


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(BASE)


def pieces_of(chat, question, num) -> list[str]:
    pieces = []
    chat.answer(question, num, pieces.append)
    return pieces


def generated(model, tokenizer, question, num) -> str:
    prompt = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt")["input_ids"]
    greedy = {"do_sample": False, "repetition_penalty": REPETITION_PENALTY, "use_cache": False}
    tokens = model.generate(prompt, max_new_tokens=num, **greedy)[0, prompt.shape[1] :]
    return tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("question", ["Who sold the lamp?", "Tell me a story about naïve 🦊s."])
def test_pieces_join_to_the_text_of_greedy_generation(chat, model, tokenizer, question):
    pieces = pieces_of(chat, question, 30)
    assert len(pieces) > 3
    assert "".join(pieces) == generated(model, tokenizer, question, 30) != ""


def test_questions_stand_alone(chat):
    first = "".join(pieces_of(chat, "Who sold the lamp?", 20))
    pieces_of(chat, "And who bought it?", 20)
    assert "".join(pieces_of(chat, "Who sold the lamp?", 20)) == first


def test_the_files_of_a_model_say_neither_how_an_answer_is_searched_nor_that_it_never_ends(chat):
    expected = pieces_of(chat, "Who sold the lamp?", 200)
    other = Chat(ModelConfig(path=str(BASE)), "question")
    theirs = {"eos_token_id": None, "num_beams": 2, "do_sample": True, "temperature": 9.0}
    other._model.generation_config.update(**theirs)
    assert pieces_of(other, "Who sold the lamp?", 200) == expected


def test_an_answer_ends_at_the_length_asked_for_or_at_the_end_of_the_context(
    chat, tokenizer, monkeypatch
):
    def num_tokens(text) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    monkeypatch.setattr(chat, "_ends", [tokenizer.pad_token_id])  # it would never end
    assert 3 <= num_tokens("".join(pieces_of(chat, "Why?", 5))) <= 7
    question = " ".join(["lamp"] * 75)
    room = 256 - len(tokenizer(f"Question: {question}\nAnswer:")["input_ids"])
    assert 20 < room < 30
    assert room - 5 < num_tokens("".join(pieces_of(chat, question, 500))) <= room + 2


def test_a_question_that_fills_the_context_is_refused(chat):
    with pytest.raises(UserError, match="no room for an answer in the model's context of 256"):
        pieces_of(chat, "lamp " * 300, 5)


def test_an_error_while_generating_reaches_the_reader(chat, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(chat._model, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        pieces_of(chat, "Who sold the lamp?", 5)


def test_no_noise_is_added_while_generating_though_the_hook_is_on(model, tokenizer):
    clean = generated(model, tokenizer, "Who sold the lamp?", 15)
    with EmbeddingNoise(100.0, seed=0).attached(model.get_input_embeddings()):
        model.train()
        assert generated(model, tokenizer, "Who sold the lamp?", 15) == clean
    model.eval()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_an_incomplete_folder_is_refused(tmp_path, name):
    shutil.copytree(BASE, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(UserError, match=str(tmp_path)):
        Chat(ModelConfig(path=str(tmp_path / "model")), "question")


def test_a_model_that_states_no_context_length_chats():
    chat = Chat(ModelConfig(path=str(BASE)), "question")
    del chat._model.config.max_position_embeddings
    assert "".join(pieces_of(chat, "Who sold the lamp?", 5))
