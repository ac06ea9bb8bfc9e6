"""Choosing a token: against definitions written out, against chance, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from nlpkit.base.errors import RunError, UserError
from nlpkit.decoding.sampling import Sampling, drawn, draws, next_token, penalised, probabilities, top_k, top_p

RNG = np.random.default_rng(0)
NONE = np.zeros(0, bool)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    shares = np.exp(logits.astype(np.float64) / temperature)
    return shares / shares.sum()


def ranked(p: np.ndarray) -> list[int]:
    """Most likely first; of equals the smaller id."""
    return sorted(range(len(p)), key=lambda piece: (-p[piece], piece))


def cases() -> list[np.ndarray]:
    """Random probabilities, and some with many ties."""
    plain = [softmax(RNG.normal(size=size, scale=3)) for size in (1, 2, 7, 50)]
    tied = [softmax(RNG.integers(0, 3, size=size).astype(float)) for size in (5, 20, 64)]
    return [*plain, *tied]


@pytest.mark.parametrize("p", cases(), ids=lambda p: str(len(p)))
@pytest.mark.parametrize("k", [1, 2, 3, 10, 100])
def test_top_k_keeps_the_k_most_likely(p: np.ndarray, k: int) -> None:
    kept = set(ranked(p)[:k])
    total = sum(p[piece] for piece in kept)
    expected = [p[piece] / total if piece in kept else 0.0 for piece in range(len(p))]
    assert np.allclose(top_k(p, k), expected, atol=1e-15)


@pytest.mark.parametrize("p", cases(), ids=lambda p: str(len(p)))
@pytest.mark.parametrize("mass", [0.01, 0.3, 0.5, 0.9, 0.999, 1])
def test_top_p_keeps_the_fewest_that_reach_the_mass(p: np.ndarray, mass: float) -> None:
    kept: list[int] = []
    for piece in ranked(p):
        kept.append(piece)
        if sum(p[kept]) >= mass:
            break
    found = top_p(p, mass)
    if mass < 1:
        assert set(np.flatnonzero(found)) == set(kept)
    else:
        assert np.array_equal(found, p)
    assert found.sum() == pytest.approx(1) and np.allclose(found[kept] / found[kept[0]], p[kept] / p[kept[0]])


def test_the_parts_are_applied_in_order() -> None:
    """Temperature, then top-k, then top-p of what top-k left."""
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    assert np.allclose(probabilities(logits, Sampling()), [0.4, 0.3, 0.2, 0.1])
    assert np.allclose(probabilities(logits, Sampling(0.5)), softmax(logits, 0.5))
    assert np.allclose(probabilities(logits, Sampling(top_k=2, top_p=0.55)), [1, 0, 0, 0])  # 4/7 of what is left
    assert np.allclose(probabilities(logits, Sampling(top_p=0.55)), [4 / 7, 3 / 7, 0, 0])
    assert np.allclose(probabilities(logits, Sampling(1e-300)), [1, 0, 0, 0])


def test_a_piece_is_drawn_as_often_as_it_is_likely() -> None:
    """Chi-square of 10,000 tokens chosen from fixed scores, in eight settings; the seed is fixed, so is the result."""
    logits, n = RNG.normal(size=12, scale=1.5).astype(np.float32), 10_000
    for number, sampling in enumerate(
        [Sampling(), Sampling(0.5), Sampling(2.0), Sampling(top_k=4), Sampling(top_p=0.8), Sampling(0.7, 6, 0.9)]
    ):
        source, p = draws(3, number, 0), probabilities(logits, sampling)
        counts = np.bincount([next_token(logits, NONE, sampling, next(source)) for _ in range(n)], minlength=12)
        assert not counts[p == 0].any()
        kept = p > 0
        chi_square = ((counts[kept] - n * p[kept]) ** 2 / (n * p[kept])).sum()
        degrees = kept.sum() - 1
        assert chi_square < degrees + 4 * np.sqrt(2 * degrees), sampling


def test_a_draw_is_a_function_of_its_address() -> None:
    def first(count: int, *address: int) -> list[float]:
        source = draws(*address)
        return [next(source) for _ in range(count)]

    assert first(600, 1, 2, 3) == first(600, 1, 2, 3)  # past a block
    seen = [tuple(first(5, *address)) for address in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2))]
    assert len(set(seen)) == 5
    many = np.array(first(20_000, 0, 0, 0))
    assert many.min() >= 0 and many.max() < 1 and abs(many.mean() - 0.5) < 0.01
    assert np.abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 0.03


def test_the_ends_of_a_draw() -> None:
    p = np.array([0, 0.25, 0, 0.75, 0])
    assert [drawn(p, draw) for draw in (0.0, 0.2499, 0.25, 0.9999999, 1.0)] == [1, 1, 3, 3, 3]


def test_greedy_takes_the_best_and_of_equals_the_first() -> None:
    logits = np.array([1, 3, 2, 3], np.float32)
    assert next_token(logits, np.zeros(4, bool), Sampling(0), 0.9) == 1
    seen = np.array([False, True, False, False])
    assert next_token(logits, seen, Sampling(0, repetition_penalty=1.2), 0.9) == 3


def test_a_penalty_never_rewards() -> None:
    logits, seen = np.array([2, -2, 2, -2, 0], np.float32), np.array([True, True, False, False, True])
    assert np.array_equal(penalised(logits, seen, 2.0), np.array([1, -4, 2, -2, 0], np.float32))
    assert np.array_equal(penalised(logits, seen, 1.0), logits)


def test_scores_that_are_not_numbers_end_the_run() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(RunError, match="not numbers"):
            next_token(np.array([bad, -np.inf], np.float32), NONE, Sampling(), 0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": -1.0}, "temperature is -1.0, expected 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top-k is 0, expected at least 1"),
        ({"top_p": 0.0}, "top-p is 0.0, expected more than 0 and at most 1"),
        ({"top_p": 1.1}, "top-p is 1.1"),
        ({"repetition_penalty": 0.0}, "repetition-penalty is 0.0"),
        ({"temperature": 0.0, "top_k": 3, "top_p": 0.5}, "--top-k, --top-p change nothing"),
    ],
)
def test_values_that_mean_nothing_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Sampling(**options)
