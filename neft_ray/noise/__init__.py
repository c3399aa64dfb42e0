"""NEFTune's noise (arXiv 2310.05914, Algorithm 1), exact, keyed, and independent of batches.

During a training forward, unit noise ε of variance 1/3, times α/√(L·d), is added to the token
embeddings of every sequence; L is that sequence's own length and d the embedding width, so that
the expected norm of one sequence's noise is α/√3 whatever L and d. Padding stays untouched.

The noise of a sequence is a pure function of (seed, optimizer step, sample id, copy), the same on
every device: independent of rank, micro-batch, call order and every other use of randomness.

`segments` says where sequences lie, `draws` makes keyed unit noise, `add` adds it (`kernel` on a
GPU), `telemetry` measures what became of it, `hook` and `follow` put it on a model, `callback` on
what transformers' Trainer trains. `dropout` is another regulariser with the same kind of key, to
compare the noise with.
"""

from neft_ray.noise.draws import DISTRIBUTIONS, Key
from neft_ray.noise.dropout import EmbeddingDropout, regularised
from neft_ray.noise.follow import following, noisy_embeddings
from neft_ray.noise.hook import EmbeddingNoise
from neft_ray.noise.segments import NoiseError, Segment, Segments
from neft_ray.noise.telemetry import metrics_of

__all__ = [
    "DISTRIBUTIONS",
    "EmbeddingDropout",
    "EmbeddingNoise",
    "Key",
    "NoiseError",
    "Segment",
    "Segments",
    "following",
    "metrics_of",
    "noisy_embeddings",
    "regularised",
]
