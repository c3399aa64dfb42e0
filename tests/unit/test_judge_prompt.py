"""The prompt of a judge: the shipped one is whole, a wrong template is refused."""

import pytest

from neft_ray.errors import UserError
from neft_ray.judge import load_prompt


def test_the_shipped_prompt_holds_everything_once():
    text = load_prompt().render("INSTRUCTION", "FIRST", "SECOND")
    assert [text.count(word) for word in ("INSTRUCTION", "FIRST", "SECOND")] == [1, 1, 1]
    assert text.index("FIRST") < text.index("SECOND")
    assert text.endswith("A or B and nothing else.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ instruction }} {{ output_1 }}", "leaves out output_2"),
        ("{{ instruction }} {{ output_1 }} {{ output_2 }} {{ other }}", "'other' is undefined"),
        ("{{ instruction", "is no template"),
    ],
)
def test_a_wrong_template_is_refused_with_its_file(tmp_path, text, says):
    file = tmp_path / "mine.jinja"
    file.write_text(text)
    with pytest.raises(UserError, match=says) as raised:
        load_prompt(file)
    assert str(raised.value).startswith(str(file))


def test_a_template_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_prompt(tmp_path / "none.jinja")
