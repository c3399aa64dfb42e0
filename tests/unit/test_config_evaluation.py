"""The settings of an evaluation, as options of the command line say them."""

import pytest

from neft_ray.config.evaluation import load_evaluation
from neft_ray.errors import UserError


def test_options_replace_what_is_usual():
    config = load_evaluation(["decoding.temperature=0.7", "judge={model: x, url: http://y}"])
    assert (config.decoding.temperature, config.decoding.repetition_penalty) == (0.7, 1.2)
    assert config.judge.url == "http://y"
    assert load_evaluation([]).judge is None


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (
            "max_new_tokens=5",
            "max_new_tokens: unknown key; did you mean 'decoding.max_new_tokens'?",
        ),
        ("max_length_tokens=5", "max_length_tokens: unknown key; known: decoding, "),
        ("engine=vlm", "engine: got the text 'vlm'; did you mean 'vllm'?"),
        ("decoding.top_p=0", "decoding.top_p: got 0; write a number above 0 and at most 1"),
        ("judge={model: x, max_cost: 3}", "judge: max_cost without prices; give input and output"),
        (
            "judge={model: x, input_price_per_million: 3}",
            "judge: one of two prices is missing; give input and output prices",
        ),
        ("batch_size", "not a setting; write --set key=value"),
    ],
)
def test_what_is_wrong_with_an_option_is_told(option, told):
    with pytest.raises(UserError) as caught:
        load_evaluation([option])
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"--set {option}: {told}")
