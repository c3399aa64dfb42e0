"""Generation: one streamed answer for a person, or answers to held-out rows to be measured."""

from neft_ray.generate.answers import Answer, answer_rows
from neft_ray.generate.chat import Chat
from neft_ray.generate.measure import measure_answers, measured

__all__ = [
    "Answer",
    "Chat",
    "answer_rows",
    "measure_answers",
    "measured",
]
