"""The model: tokenizer, causal LM, its embedding, and a loss computed where it is supervised."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from neft_ray.config.trial import ModelConfig
from neft_ray.errors import UserError, bad_input

HEAD_CHUNK_ROWS = 2048


def resolve_path(path: str) -> str:
    """Return a folder for built-in names, and other names as they are."""
    if path.startswith("builtin:"):
        if path != "builtin:base":
            raise bad_input(path, "no such built-in model", "use builtin:base")
        return str(resources.files("neft_ray") / "builtin" / "base")
    if path.startswith(("/", ".", "~")) and not Path(path).expanduser().is_dir():
        raise bad_input(path, "no such folder", "check model.path")
    return str(Path(path).expanduser()) if path.startswith("~") else path


def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer of a folder or hub name.

    Raises:
        UserError: If it is missing or cannot be used for training.
    """
    from transformers import AutoTokenizer

    path = resolve_path(config.path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # transformers raises many kinds for a missing tokenizer
        raise _unloadable(config, "tokenizer", error) from error
    if not getattr(tokenizer, "is_fast", False):
        remedy = "convert it to tokenizer.json with the tokenizers library"
        raise bad_input(config.path, "its tokenizer gives no character offsets", remedy)
    if tokenizer.eos_token_id is None:
        remedy = "set eos_token in tokenizer_config.json"
        raise bad_input(config.path, "its tokenizer has no end-of-text token", remedy)
    return tokenizer


def load_model(config: ModelConfig, dtype: torch.dtype | Literal["auto"] = torch.float32) -> Any:
    """Load a causal language model on the CPU.

    Args:
        config: Which one.
        dtype: Of its parameters. In the dtype of the file (`auto`) they are mapped from it and
            take no memory until they are written to.

    Raises:
        UserError: If the folder or hub name has no usable weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = resolve_path(config.path)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            revision=config.revision,
            dtype=dtype,
            use_safetensors=None if config.allow_pickle else True,
            trust_remote_code=config.trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:  # as above, for weights
        raise _unloadable(config, "model", error) from error
    if missing := sorted(info["missing_keys"]):
        what = f"its weights lack {len(missing)} tensors, such as {missing[0]}"
        raise bad_input(config.path, what, "use a complete checkpoint of this architecture")
    model.config.use_cache = False
    return model


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model, which are gathered one at a time where it is sharded."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]


def _unloadable(config: ModelConfig, part: str, error: Exception) -> UserError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    what = f"the {part} cannot be loaded: {first}"
    remedy = "give a complete Hugging Face folder with safetensors, or a hub name you can reach"
    return bad_input(config.path, what, remedy)


class SupervisedLM(nn.Module):
    """A causal LM whose forward returns losses, with logits only where they are needed.

    Attributes:
        model: The Hugging Face model, its parameters in float32.
        dtype: What matrix multiplications are computed in: float32 as the parameters, or autocast.

    Where parameters are sharded, this module is the one to wrap as the root: its forward uses the
    output layer without the model around it.
    """

    def __init__(self, model: nn.Module, dtype: str = "float32") -> None:
        super().__init__()
        self.model = model
        self.dtype: torch.dtype = getattr(torch, dtype)
        self._direct_head: bool | None = None

    @property
    def embedding(self) -> nn.Module:
        """The module that turns token ids into embeddings."""
        return self.model.get_input_embeddings()  # type: ignore[no-any-return, operator]

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Return the sum of token losses of each row, in nats.

        Args:
            tokens_BT: Token ids, right-padded.
            targets_BT: True where a token is a target. Position 0 never is.

        Returns:
            float32 [B].
        """
        if self._direct_head is None:  # parameters may be in shards before the first forward
            self._direct_head = _head_is_plain(self.model, tokens_BT.device)
        with self._autocast(tokens_BT.device):
            return self._row_losses(tokens_BT, targets_BT)

    def generate(self, input_ids: Tensor, **options: Any) -> Tensor:
        """Return what the Hugging Face model's `generate` does with its options: [B, T + new].

        Where parameters are sharded, this method is to be wrapped as the forward is.
        """
        with self._autocast(input_ids.device):
            generated: Tensor = self.model.generate(  # type: ignore[operator]
                input_ids=input_ids, **options
            )
        return generated

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _row_losses(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        rows_N, before_N = targets_BT[:, 1:].nonzero(as_tuple=True)
        labels_N = tokens_BT[rows_N, before_N + 1]
        if self._direct_head:
            body = self.model.get_decoder()  # type: ignore[operator]
            hidden_BTD = body(input_ids=tokens_BT, use_cache=False).last_hidden_state
            logits_of = self.model.get_output_embeddings()  # type: ignore[operator]
            inputs_ND = hidden_BTD[rows_N, before_N]
        else:
            logits_of = nn.Identity()
            output = self.model(input_ids=tokens_BT, use_cache=False)
            inputs_ND = output.logits[rows_N, before_N]
        losses_N = torch.cat(
            [
                functional.cross_entropy(logits_of(inputs).float(), labels, reduction="none")
                for inputs, labels in zip(
                    torch.split(inputs_ND, HEAD_CHUNK_ROWS),
                    torch.split(labels_N, HEAD_CHUNK_ROWS),
                    strict=True,
                )
            ]
        )
        return losses_N.new_zeros(len(tokens_BT)).index_add(0, rows_N, losses_N)


@torch.no_grad()
def _head_is_plain(model: Any, device: torch.device) -> bool:
    """Say whether logits are the output embedding of the last hidden state and nothing more.

    Some models scale or cap their logits; for these the full computation is kept.
    """
    body, head = getattr(model, "get_decoder", lambda: None)(), model.get_output_embeddings()
    if body is None or head is None:
        return False
    training = model.training
    model.eval()
    probe = torch.arange(1, 5).unsqueeze(0).to(device)
    hidden = body(input_ids=probe, use_cache=False).last_hidden_state
    # Bitwise: a cap is nearly no change for the small logits of an untrained model.
    same = torch.equal(head(hidden), model(input_ids=probe, use_cache=False).logits)
    model.train(training)
    return same


def check_model(config: ModelConfig, tokenizer: Any) -> None:
    """Refuse a model that cannot be trained, without reading its tensors.

    Raises:
        UserError: If the configuration or weights are missing, truncated, or do not fit the
            tokenizer.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    path = resolve_path(config.path)
    try:
        described = AutoConfig.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # transformers raises many kinds for a missing configuration
        raise _unloadable(config, "model", error) from error
    if not config.trust_remote_code and type(described) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        what = f"{described.model_type} is no causal language model"
        raise bad_input(config.path, what, "use a decoder, such as a Llama")
    if len(tokenizer) > described.get_text_config().vocab_size:
        what = f"its tokenizer has {len(tokenizer)} tokens, its embedding fewer"
        raise bad_input(config.path, what, "use the tokenizer that belongs to the model")
    if Path(path).is_dir():
        _check_weight_files(Path(path), config)


def _check_weight_files(folder: Path, config: ModelConfig) -> None:
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    weights = set(folder.glob("*.safetensors"))
    if index.is_file():
        weights |= {folder / name for name in json.loads(index.read_text())["weight_map"].values()}
    if not weights and not config.allow_pickle:
        remedy = "convert the weights to safetensors, or set model.allow_pickle if you trust them"
        raise bad_input(config.path, "has no safetensors weights", remedy)
    for file in sorted(weights):
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            what = f"is missing, truncated or damaged ({error})"
            raise bad_input(file, what, "copy or download it again") from error
