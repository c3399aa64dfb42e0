"""One worker that answers the prompts of an evaluation set with a trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from neft_ray.config.evaluation import Answering
from neft_ray.cores import use_cores
from neft_ray.data.templates import Template
from neft_ray.generate.decoding import Writer, end_tokens
from neft_ray.generate.replies import Prompt, Reply, Replying, batches_of
from neft_ray.model import load_tokenizer
from neft_ray.strategy.inference import build_copy, build_shards

Send = Callable[[list[Reply]], None]


def reply_to(answering: Answering, prompts: Sequence[Prompt], device: str, send: Send) -> None:
    """Answer this worker's share of some prompts; all workers call this.

    Args:
        answering: What answers, and how.
        prompts: Of all workers; those of rank 0 count.
        device: Of this worker.
        send: Is given each batch. A reply may come twice, from two workers.

    Raises:
        UserError: If the model or its template cannot be used.
    """
    model, how = answering.model, answering.replies
    use_cores(how.workers.cpus)
    tokenizer = load_tokenizer(model)
    template = Template(answering.template, tokenizer)
    there = torch.device(device)
    num_workers = how.workers.least
    in_step = how.sharded and num_workers > 1
    ranks = build_shards(model, there, num_workers) if in_step else build_copy(model, there)
    # Another worker may have been told later, of fewer.
    prompts = ranks.gather_over_ranks(list(prompts))[0]
    ends = end_tokens(ranks.plain.model, tokenizer)
    writer = Writer(ranks.plain, there, ends, how.decoding, in_step)
    batches = batches_of(prompts, how.batch_size, ranks.rank, ranks.world)
    most = max((len(prompt.questions) for prompt in prompts), default=0)
    for replies in Replying(writer, tokenizer, template).replies(batches, most):
        send(replies)
