"""The baselines: the largest class, and a bag of words that finds a planted word."""

import numpy as np

from nlpkit.evaluation import baselines


def test_majority_is_the_largest_class_and_the_first_of_equals():
    assert baselines.majority(np.array([0, 2, 2, 1]), 3).tolist() == [2, 2, 2]
    assert baselines.majority(np.array([1, 0]), 1).tolist() == [0]


def test_the_bag_of_words_finds_planted_words():
    rng = np.random.default_rng(0)
    filler = ["king", "queen", "sword", "night"]
    classes = rng.integers(0, 2, 200)
    texts = [" ".join([*rng.choice(filler, 5), ["laughter", "funeral"][c]]) for c in classes]
    guesses = baselines.bag_of_words(texts[:150], classes[:150], texts[150:])
    assert (guesses == classes[150:]).all()


def test_texts_with_nothing_to_learn_from_are_answered_with_the_majority():
    assert baselines.bag_of_words(["a b", "c d", "e f"], np.array([1, 1, 0]), ["x"]).tolist() == [1]
    assert baselines.bag_of_words(["same word", "same word"], np.array([1, 1]), ["x", "y"]).tolist() == [1, 1]
