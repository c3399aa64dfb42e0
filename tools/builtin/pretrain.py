"""Builds all of `neft_ray/builtin` from a seed: tokenizer, rows and the pretrained base model.

Run it as `python tools/builtin/pretrain.py --out neft_ray/builtin [--seed 0]`.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from corpus import Row, documents, rows
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

NUM_ROWS = 320  # in each of the two files
VOCAB_SIZE = 1024
CONTEXT_TOKENS = 256
TOKENIZER_DOCUMENTS = 20_000
HELD_OUT_BLOCKS = 128

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# The built-in base

A causal language model small enough to fine-tune in seconds on one core, and truly pretrained,
which matters here: NEFTune adds noise to embeddings that carry meaning, and those of a randomly
initialised toy do not. `neft-ray quickstart` fine-tunes it, without a GPU and without a model
hub.

| what | value |
| --- | --- |
| architecture | Llama, tied embeddings, float32 |
| size | {num_parameters:,} parameters: d={width}, {num_layers} layers, vocabulary {vocab} |
| context | {context} tokens |
| command | `python tools/builtin/pretrain.py --out neft_ray/builtin --seed {seed}` |
| tokens seen | {num_tokens:,}, each once |
| wall time | {minutes:.1f} minutes on one CPU thread |
| held-out corpus loss | {loss:.4f} nats per token |
| embedding standard deviation | {embedding_std:.3f} |
| licence | Apache-2.0, like the text it has read, which `tools/builtin/corpus.py` writes |

It was pretrained with AdamW (learning rate {learning_rate}, cosine, weight decay {weight_decay}) on
documents of a micro-world of people, animals, things and places, packed as `<s> text </s>`.
The loss is of documents from another stream of the same generator; the generator's own chance,
counted over its draws, is 0.70 nats per token.

`train.jsonl` and `held_out.jsonl`, beside this folder, hold {num_rows} instruction rows each about
that world. No two prompts share 60 % of their pairs of neighbouring words, and none occurs in
pretraining, which has seen exchanges of the same kinds, without `Question:` and `Answer:`, as one
document in twenty. A prompt that suits the model: `Question: …`, a line break, `Answer: `.

Limits: it knows a few hundred words of English and no facts about our world, its replies make
little sense, and results on it say nothing about large models. It is there to try a sweep.
"""


@dataclass(frozen=True)
class Recipe:
    """How the base model is pretrained."""

    seed: int = 0
    num_steps: int = 2400
    batch_blocks: int = 16
    learning_rate: float = 3e-3
    final_fraction: float = 0.05
    warmup_steps: int = 100
    weight_decay: float = 0.1

    @property
    def num_tokens(self) -> int:
        """Tokens that the model sees, each of them once."""
        return self.num_steps * self.batch_blocks * CONTEXT_TOKENS

    def factor(self, step: int) -> float:
        """The learning rate's factor at a step: linear warm-up, then a cosine."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / (self.num_steps - self.warmup_steps)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.final_fraction + (1 - self.final_fraction) * cosine


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE that puts <s> in front of a text and can encode any text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(islice(documents(f"{seed} train"), TOKENIZER_DOCUMENTS), trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bpe.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A small Llama with tied embeddings, freshly initialised."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def packed(tokenizer: PreTrainedTokenizerFast, stream: str, num_blocks: int) -> Iterator[Tensor]:
    """Blocks of CONTEXT_TOKENS, cut from documents laid end to end as `<s> … </s>`."""
    texts, ids = documents(stream), list[int]()
    for _ in range(num_blocks):
        while len(ids) < CONTEXT_TOKENS:
            for encoded in tokenizer(list(islice(texts, 256)))["input_ids"]:
                ids += [*encoded, tokenizer.eos_token_id]
        yield torch.tensor(ids[:CONTEXT_TOKENS])
        del ids[:CONTEXT_TOKENS]


def batches(blocks: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Stacks blocks into batches of `size`."""
    while batch := list(islice(blocks, size)):
        yield torch.stack(batch)


@torch.no_grad()
def corpus_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, stream: str) -> float:
    """Nats per token on documents of a stream."""
    blocks = packed(tokenizer, stream, HELD_OUT_BLOCKS)
    losses = [model(input_ids=ids, labels=ids).loss for ids in batches(blocks, 16)]
    return torch.stack(losses).mean().item()


def pretrain(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> None:
    """Trains on the corpus, every token once, with AdamW and a cosine."""
    embedding = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p.ndim == 2 and p is not embedding]
    others = [p for p in model.parameters() if p.ndim < 2 or p is embedding]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    decay, rate = recipe.weight_decay, recipe.learning_rate
    optimizer = torch.optim.AdamW(groups, rate, (0.9, 0.95), weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.factor)
    num_blocks = recipe.num_steps * recipe.batch_blocks
    blocks = packed(tokenizer, f"{recipe.seed} train", num_blocks)
    for step, ids in enumerate(batches(blocks, recipe.batch_blocks)):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)


def write_rows(path: Path, instruction_rows: list[Row]) -> None:
    """Writes one JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows), encoding="utf-8")


def write_base(folder: Path, recipe: Recipe) -> None:
    """Pretrains the base and writes model, tokenizer and card."""
    tokenizer = build_tokenizer(recipe.seed)
    model = build_model(tokenizer, recipe.seed)
    started = time.monotonic()
    pretrain(model, tokenizer, recipe)
    minutes = (time.monotonic() - started) / 60
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = CARD.format(
        num_parameters=model.num_parameters(),
        width=model.config.hidden_size,
        num_layers=model.config.num_hidden_layers,
        vocab=len(tokenizer),
        context=CONTEXT_TOKENS,
        seed=recipe.seed,
        num_tokens=recipe.num_tokens,
        minutes=minutes,
        loss=corpus_loss(model, tokenizer, f"{recipe.seed} held out"),
        embedding_std=model.get_input_embeddings().weight.std().item(),
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        num_rows=NUM_ROWS,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    """Reads the command line and builds everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="everything follows from it")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    instruction_rows = rows(arguments.seed, 2 * NUM_ROWS)
    write_rows(arguments.out / "train.jsonl", instruction_rows[:NUM_ROWS])
    write_rows(arguments.out / "held_out.jsonl", instruction_rows[NUM_ROWS:])
    write_base(arguments.out / "base", Recipe(seed=arguments.seed))


if __name__ == "__main__":
    main()
