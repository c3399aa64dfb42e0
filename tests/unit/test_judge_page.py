"""The page of a comparison: what it shows, that it is safe, that it needs nothing else."""

import base64
import hashlib
import math
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import pytest

from neft_ray.errors import StorageError
from neft_ray.judge import (
    Comparison,
    JudgePrompt,
    LocalJudge,
    Output,
    Outputs,
    pair_outputs,
    sentences,
    write_page,
)
from neft_ray.judge.page import render

HOSTILE = "</div></script><script>alert(1)</script><img src=x onerror=alert(2)>'\" {{ 7*7 }}"
LONG = " ".join(f"word{n}" for n in range(60))
ROWS = [  # instruction, set, ours, theirs: won, lost, tied by a change of mind, no verdict, equal
    ("first", "one", "good " + LONG, "bad " + LONG),
    ("second", "one", "bad", "good"),
    ("third", "two", "fickle left", "fickle right"),
    ("fourth", "two", "odd", "bad text"),
    ("fifth", "", "same", "same"),
]


def pairing(rows=ROWS, names=("ours", "theirs")):
    one, other = (
        Outputs(name, tuple(Output(row[0], row[side], row[1]) for row in rows))
        for name, side in zip(names, (2, 3), strict=True)
    )
    return pair_outputs(one, other)


def logits(prompt):
    first, second = prompt.split("§")[1:3]
    if "odd" in prompt:
        return math.nan, 0.0
    return 2.0 * ("bad" not in first) + ("fickle" in first), 2.0 * ("bad" not in second)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    prompt = JudgePrompt("{{ instruction }}§{{ output_1 }}§{{ output_2 }}")
    file = tmp_path_factory.mktemp("judged") / "verdicts.jsonl"
    return Comparison(pairing(), LocalJudge("a judge", logits, prompt), file).run()


@pytest.fixture(scope="module")
def page(judged):
    return render(judged.pairing, judged)


class Tags(HTMLParser):
    """What a browser takes for tags and attributes."""

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]


def articles(page):
    return re.findall(r"<article.*?</article>", page, flags=re.DOTALL)


def test_the_page_shows_every_output_beside_the_other(page, judged):
    found = articles(page)
    assert len(found) == 5
    for article, pair in zip(found, judged.pairing.pairs, strict=True):
        texts = re.findall(r'class="(?:asked|text)" dir="auto">(.*?)</div>', article)
        assert texts == [pair.instruction, pair.system, pair.reference]
    assert f"{len(LONG) + 5} characters, 61 words, repetition 0.000" in found[0]


def test_the_page_says_how_each_pair_was_judged(page):
    outcomes = [re.search(r'data-outcome="(.*?)"', article)[1] for article in articles(page)]
    assert outcomes == ["won", "lost", "tied", "no verdict", "tied"]
    won, lost, fickle, odd, equal = articles(page)
    assert "preference 0.88: 0.88 shown first, 0.88 shown second" in won
    assert "preference 0.12" in lost
    assert "the orders disagree" in fickle and 'data-disagree="1"' in fickle
    assert "the orders disagree" not in won and 'data-disagree=""' in won
    assert "<span>no verdict shown first, no verdict shown second</span>" in odd
    assert odd.count("No verdict (unparsable)") == 2
    assert "equal outputs, not asked" in equal


def test_the_head_has_all_that_is_said_and_the_means(page, judged):
    start = unescape(page[: page.index("<article")])
    for sentence in sentences(judged.pairing, judged):
        assert sentence in start
    assert "Win rate of ours: 50.0 %" in start
    cells = re.findall(r"<td[^>]*>(.*?)</td>", start)
    ours = [len(row[2]) for row in ROWS]
    theirs = [len(row[3]) for row in ROWS]
    assert cells[:3] == ["Characters", f"{sum(ours) / 5:.1f}", f"{sum(theirs) / 5:.1f}"]
    assert cells[8:12] == ["2-gram repetition", "0.0000", "0.0000", "+0.0000"]
    assert "over the 1 prompts where both" in start


def test_a_page_without_a_judge_has_lengths_and_repetition_alone():
    page = render(pairing())
    assert "No judge was asked" in page
    assert len(articles(page)) == 5
    assert "61 words, repetition 0.000" in page
    for word in ("data-outcome=", "data-preference=", "preference", "Win rate", "At equal length"):
        assert word not in re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)


def test_a_mean_of_nothing_is_unknown():
    page = render(pairing(ROWS[1:]))
    assert page.count('class="n">unknown</td>') == 4


@pytest.mark.parametrize("place", ["instruction", "set", "ours", "theirs", "name", "reply"])
def test_hostile_text_is_only_text(place, tmp_path):
    def text(where, plain):
        return HOSTILE if where == place else plain

    rows = [(text("instruction", "a"), text("set", "b"), text("ours", "c"), text("theirs", "d"))]
    pairs = pairing(rows, (text("name", "ours"), "theirs"))
    reply = float("nan") if place == "reply" else 1.0
    judge = LocalJudge(text("reply", "judge"), lambda _: (reply, 0.0))
    page = render(pairs, Comparison(pairs, judge, tmp_path / "v.jsonl").run())
    assert page.count("<script") == page.count("</script>") == 1  # the page's own
    assert "<img" not in page
    assert "{{ 7*7 }}" in page
    assert HOSTILE in unescape(page)
    tags = Tags(page)
    assert "article" in tags.names and "img" not in tags.names
    assert not [name for name in tags.attributes if name.startswith("on")]


def test_only_the_pages_own_script_may_run(page):
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = unescape(re.search(r'Content-Security-Policy" content="(.*?)"', page)[1])
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_the_page_needs_nothing_from_outside(page):
    assert not re.search(r"https?:|<link|@import|<script src|src=|url\(", page)


def test_every_prompt_can_be_read_without_the_script(page):
    before = page[: page.index("<script")]
    assert "hidden" not in re.sub(r"<style>.*?</style>", "", before, flags=re.DOTALL)


def test_the_page_has_the_look_of_the_report(page):
    from neft_ray.report.page import style

    assert style() in page


def test_the_page_is_written_whole_with_any_characters(tmp_path):
    pairs = pairing([("a", "", "lone \ud800 surrogate", "ünï \u202e\u0000")])
    write_page(tmp_path / "new" / "page.html", pairs)
    content = (tmp_path / "new" / "page.html").read_text("utf-8")
    assert "lone ? surrogate" in content and "ünï" in content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", pairing())


def test_judging_loads_no_framework():
    heavy = ["torch", "ray", "mlflow", "transformers", "datasets", "matplotlib"]
    code = f"import sys, neft_ray.judge; sys.exit([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
