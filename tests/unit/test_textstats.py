"""Words, repetition and diversity of texts, against figures worked out by hand."""

import math

import pytest

from neft_ray.textstats import FIRST_WORDS, MOST_DIVERSE, log_diversity, repetition, words_of


def test_words_stand_between_white_space():
    assert words_of("  One two,\n\nTHREE\tfour ") == ["One", "two,", "THREE", "four"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c d", 0.0),
        ("a b a b", 1 / 3),  # ab ba ab
        ("a a a a a", 3 / 4),
        ("A b a b", 0.0),  # case is kept
        ("word", 0.0),
        ("", 0.0),
    ],
)
def test_repetition_is_the_share_of_bigrams_that_came_before(text, expected):
    assert repetition(text) == pytest.approx(expected)


def test_repetition_of_longer_grams():
    assert repetition("a b c a b c", 3) == pytest.approx(1 / 4)  # abc bca cab abc
    assert repetition("a b", 3) == 0.0


def test_only_the_first_words_count():
    first = " ".join(map(str, range(FIRST_WORDS)))
    assert repetition(first + " again" * 30) == 0.0
    assert log_diversity(first + " again" * 30) == MOST_DIVERSE


def test_log_diversity_is_of_the_product_over_two_three_and_four():
    text = "a b c d a b c"  # 6 bigrams, 4 distinct; 5 trigrams, 4 distinct; 4 of 4
    assert log_diversity(text) == pytest.approx(-math.log(1 - 4 / 6 * 4 / 5))


def test_log_diversity_has_its_bounds():
    assert log_diversity("a b c d e f") == MOST_DIVERSE
    assert log_diversity("") == MOST_DIVERSE
    assert 0 <= log_diversity("a " * FIRST_WORDS) < 0.001


def test_more_repetition_is_less_diversity():
    texts = ["a b c d e f g h", "a b c d e f a b", "a b c a b c a b", "a a a a a a a a"]
    found = [log_diversity(text) for text in texts]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
