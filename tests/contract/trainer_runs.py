"""Short trainings under transformers' Trainer, and an ear where the first layer reads."""

import math

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainingArguments

from neft_ray.config.trial import ModelConfig
from neft_ray.model import load_model

ALPHA = 5.0
LENGTHS = (40, 9, 25, 33)
ROWS = [{"input_ids": torch.arange(5, 5 + n), "labels": torch.arange(5, 5 + n)} for n in LENGTHS]


def base():
    return load_model(ModelConfig(path="builtin:base"))


def padded(rows):
    """Right-padded, with a mask."""
    ids = pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    mask = pad_sequence([torch.ones_like(row["input_ids"]) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


class Ear:
    """Hears what was added to the embeddings in every forward of a model: (training, [B, T, d])."""

    def __init__(self, model):
        self.heard, self._ids, self._embedding = [], None, model.get_input_embeddings()
        self._embedding.register_forward_pre_hook(self._remember)
        model.get_decoder().layers[0].register_forward_pre_hook(self._hear)

    def _remember(self, module, args):
        self._ids, self._training = args[0], module.training

    def _hear(self, module, args):
        added = args[0].detach() - self._embedding.weight[self._ids].detach()
        self.heard.append((self._training, added))

    @property
    def in_training(self):
        return [added for training, added in self.heard if training]


def make(folder, callbacks, model, **options):
    """Return a Trainer of one step on all rows, which does not change the model's weights."""
    given = {"per_device_train_batch_size": 4, "max_steps": 1, "save_strategy": "no", **options}
    arguments = TrainingArguments(
        folder, report_to=[], use_cpu=True, disable_tqdm=True, learning_rate=0.0, **given
    )
    return Trainer(
        **{"model" if isinstance(model, torch.nn.Module) else "model_init": model},
        args=arguments,
        train_dataset=ROWS,
        eval_dataset=ROWS,
        data_collator=padded,
        callbacks=callbacks,
    )


def relative(piece, alpha=ALPHA):
    """The norm of one sequence's noise over the paper's expectation."""
    return piece.norm().item() * math.sqrt(3) / alpha
