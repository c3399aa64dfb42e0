"""The noise on kinds of models: adapters, frozen, tied and scaled embeddings, checkpointing."""

import math

import peft
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from neft_ray.model import SupervisedLM
from neft_ray.noise import DISTRIBUTIONS, EmbeddingNoise, Segments
from tests.unit.noise_runs import tokens_of

ALPHA, WIDTH, LENGTHS = 5.0, 64, [30, 12]
SIZES = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 100}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}


def llama(**options):
    return LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS, **options))


def gemma():
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, **HEADS, head_dim=32))


def granite():
    return GraniteForCausalLM(GraniteConfig(**SIZES, **HEADS, embedding_multiplier=12.0))


def gpt2():
    sizes = {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "vocab_size": 100}
    return GPT2LMHeadModel(GPT2Config(**sizes, embd_pdrop=0.0))


def lora(**options):
    return peft.get_peft_model(llama(), peft.LoraConfig(target_modules=["q_proj"], **options))


def checkpointed(model):
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


MODELS = {
    "plain": llama,
    "tied": lambda: llama(tie_word_embeddings=True),
    "learned positions": gpt2,
    "gemma": gemma,
    "granite": granite,
    "lora": lora,
    "lora, checkpointed": lambda: checkpointed(lora()),
    "embedding in modules_to_save": lambda: lora(modules_to_save=["embed_tokens"]),
    "lora on the embedding": lambda: peft.get_peft_model(
        llama(), peft.LoraConfig(target_modules=["embed_tokens"])
    ),
    "checkpointed": lambda: checkpointed(llama()),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().train()


def first_layer_inputs(model, run) -> torch.Tensor:
    """What the first layer is given in one run."""
    seen = []
    layer = next(m for m in model.modules() if type(m).__name__.endswith(("DecoderLayer", "Block")))
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    run()
    handle.remove()
    return seen[0].clone()


def run_with(model, noise, step=1):
    tokens = tokens_of(LENGTHS)

    def forward_and_backward():
        with noise.on(Segments.padded(step, [3, 4], LENGTHS)):
            model(input_ids=tokens, use_cache=False).logits.logsumexp(-1).sum().backward()

    with noise.attached(model.get_input_embeddings()):
        return first_layer_inputs(model, forward_and_backward)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_noise_fires_once_and_the_gradients_are_those_of_these_embeddings(model, distribution):
    noise = EmbeddingNoise(ALPHA, 1, distribution=distribution)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        clean = first_layer_inputs(model, lambda: model(input_ids=tokens_of(LENGTHS)))
    noised = run_with(model, noise)
    factor = 12 if isinstance(model, GraniteForCausalLM) else 1
    for row, (length, added) in enumerate(zip(LENGTHS, noised - clean, strict=True)):
        ratio = added[:length].norm().item() * math.sqrt(3) / (ALPHA * factor)
        assert ratio == pytest.approx(1, abs=0.05), row
        assert added[length:].eq(0).all()
    metrics = noise.pop_metrics()
    assert metrics["noise_alpha_measured"] == pytest.approx(ALPHA, rel=1e-4)
    grads = {name: p.grad for name, p in trained.items()}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    assert any(grad.abs().max() > 0 for grad in grads.values())


def test_checkpointing_changes_no_gradient():
    grads = []
    for wrap in (checkpointed, lambda model: model):
        torch.manual_seed(0)
        model = wrap(llama()).train()
        run_with(model, EmbeddingNoise(ALPHA, 1))
        grads.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["plain", "gemma", "granite"])
def test_alpha_in_units_of_the_embeddings_rms_is_one_share_of_the_signal_in_every_model(name):
    torch.manual_seed(0)
    model = MODELS[name]().train()
    with torch.no_grad():
        clean = first_layer_inputs(model, lambda: model(input_ids=tokens_of(LENGTHS)))
    noise = EmbeddingNoise(ALPHA, 1, relative_to="embedding_rms")
    added = run_with(model, noise) - clean
    for length, row, signal in zip(LENGTHS, added, clean, strict=True):
        share = row[:length].norm() / signal[:length].norm()
        wanted = ALPHA / math.sqrt(3 * length * WIDTH)
        assert (share / wanted).item() == pytest.approx(1, abs=0.05)
    metrics = noise.pop_metrics()
    assert metrics["noise_alpha_measured"] == pytest.approx(ALPHA, rel=1e-3)
    assert metrics["noise_relative_norm"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_relative_noise_of_a_row_does_not_depend_on_the_other_rows(dtype):
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(50, WIDTH, dtype=dtype)
    found = []
    for lengths in ([12, 30], [12], [12, 1]):
        noise = EmbeddingNoise(ALPHA, 1, relative_to="embedding_rms")
        with (
            noise.attached(embedding),
            noise.on(Segments.padded(1, range(len(lengths)), lengths)),
        ):
            found.append(embedding(tokens_of(lengths))[0, :12].detach().clone())
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_our_own_recipe_keeps_embeddings_in_float32_under_bfloat16_so_noise_is_exact():
    torch.manual_seed(0)
    model = SupervisedLM(gemma(), "bfloat16").train()
    dtypes = []
    model.embedding.register_forward_hook(lambda module, args, out: dtypes.append(out.dtype))
    noise, tokens = EmbeddingNoise(0.05, 1), tokens_of(LENGTHS)
    targets = tokens > 0
    targets[:, 0] = False
    with noise.attached(model.embedding), noise.on(Segments.padded(1, [3, 4], LENGTHS)):
        model(tokens, targets).sum().backward()
    metrics = noise.pop_metrics()
    assert set(dtypes) == {torch.float32}
    assert metrics["noise_alpha_measured"] == pytest.approx(0.05, rel=1e-4)
    assert metrics["noise_changed_fraction"] > 0.999
