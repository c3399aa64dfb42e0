"""The questions that models answer in the tests of evaluations."""

import json

import pytest

from tests.system.evaluations import ROWS


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("set") / "people.json"
    file.write_text(json.dumps(ROWS))
    return file
