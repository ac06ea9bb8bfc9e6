"""Baselines of a classifier: the majority class, and a bag of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]


def majority(train: Classes, n: int) -> Classes:
    """The most frequent class of the training examples (the first of equals), [n] times."""
    return np.full(n, np.bincount(train).argmax(), np.int64)


def bag_of_words(train: Sequence[str], classes: Classes, texts: Sequence[str]) -> Classes:
    """Predictions of a logistic regression on TF-IDF weights of words.

    Words are runs of two or more letters or digits, lower-cased; counts are damped by 1 + log; a word must occur in two
    training texts; everything else is scikit-learn's default, without tuning. If the training texts have a single
    class, it is the prediction.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(classes)) < 2:
        return majority(classes, len(texts))
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2)
    try:
        features = vectorizer.fit_transform(train)
    except ValueError:  # no word occurs in two texts
        return majority(classes, len(texts))
    model = LogisticRegression(max_iter=1000).fit(features, classes)
    return np.asarray(model.predict(vectorizer.transform(texts)), np.int64)
