"""Is CBOW better for frequent words and skip-gram for rare ones?

    python benchmarks/frequent_rare.py                   # some minutes
    python benchmarks/frequent_rare.py --text grammar --seeds 2

What should be found is planted. Every probe is two words that mean the same by construction: wherever one stands, the
other might as well. A method is good at a probe when each of the two is among the ten nearest words of the other
(recall@10; the reciprocal rank is printed too, as it does not end at the best rank but ten). Probes are split in thirds
by frequency, and the claim is an interaction: skip-gram less CBOW is larger on the rare third than on the frequent one.

    grammar      a generated text: concepts whose frequencies follow Zipf's law, each with two names that are drawn by a
                 coin, among words that the concept chooses and words that are everywhere
    shakespeare  real text: words of the plays, each occurrence of which is replaced, by a coin, by one of two new names

Both methods have their usual learning rates (0.025 and 0.05), negative sampling (or --loss hs), window 5. A seed draws
the text, the coins and the training. Intervals of 95 % are bootstrapped over the seeds' mean interaction, and over all
probes of all seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import nlpkit
from nlpkit.measure import intervals
from nlpkit.stages import demo_data as shakespeare
from nlpkit.tokenizers.pretokenize import words_by
from nlpkit.vectors.file import load

_words = words_by(lower=True, strip=False)
METHODS = {"skipgram": 0.025, "cbow": 0.05}
CONCEPTS, POOL, OWN, LENGTH = 600, 2000, 30, 11  # of the grammar: concepts, other words, a concept's words, a sentence
ON_TOPIC = 0.6  # the share of the other words that the concept chooses
PROBES = 300  # of Shakespeare
AT_LEAST = 10  # occurrences of each name, on average


def zipf(words: int) -> np.ndarray:
    share = 1 / np.arange(1, words + 1)
    return share / share.sum()


def grammar(sentences: int, seed: int, path: Path) -> list[int]:
    """Write the generated text; returns how often each concept came. Concept c is called a{c} or b{c}."""
    rng = np.random.default_rng(seed)
    own = np.stack([rng.choice(POOL, OWN, replace=False) for _ in range(CONCEPTS)])
    concept = rng.choice(CONCEPTS, sentences, p=zipf(CONCEPTS))
    topical = own[concept[:, None], rng.choice(OWN, (sentences, LENGTH), p=zipf(OWN))]
    common = rng.choice(POOL, (sentences, LENGTH), p=zipf(POOL))
    words = np.where(rng.random((sentences, LENGTH)) < ON_TOPIC, topical, common)
    text = np.char.add("w", words.astype(str)).astype(object)
    text[:, LENGTH // 2] = np.where(rng.random(sentences) < 0.5, "a", "b").astype(object) + concept.astype(str)
    path.write_text("\n".join(" ".join(row) for row in text) + "\n")
    return np.bincount(concept, minlength=CONCEPTS).tolist()


def plays(seed: int, path: Path) -> list[int]:
    """Write Shakespeare with two names for each probe; returns how often each probe came."""
    rng = np.random.default_rng(seed)
    lines = [
        words for speech in shakespeare.speeches() for line in speech["text"].split("\n") if (words := words_of(line))
    ]
    names, counts = np.unique([word for line in lines for word in line], return_counts=True)
    able = [place for place, name in enumerate(names) if counts[place] >= 2 * AT_LEAST and name.isalpha()]
    able.sort(key=lambda place: (-counts[place], names[place]))
    chosen = [able[int(place)] for place in np.linspace(30, len(able) - 1, PROBES)]  # the first thirty are grammar
    number = {str(names[place]): probe for probe, place in enumerate(chosen)}
    with path.open("w") as out:
        for line in lines:
            coins = rng.random(len(line))
            out.write(
                " ".join(
                    word if word not in number else f"{'ab'[int(coin < 0.5)]}{number[word]}"
                    for word, coin in zip(line, coins, strict=True)
                )
                + "\n"
            )
    return [int(counts[place]) for place in chosen]


def words_of(line: str) -> list[str]:
    """The words of a line, as the training would cut them (`nlpkit.vectors.text.words`)."""
    return [word for word in _words(line) if any(map(str.isalnum, word))]


def ranks(path: Path, probes: int) -> np.ndarray:
    """The rank of each probe's second name among the words near the first, and the other way, [probes, 2]; words that
    fell out have rank infinity."""
    opened = load(path)
    found = np.full((probes, 2), np.inf)
    for probe in range(probes):
        pair = opened.find(f"a{probe}"), opened.find(f"b{probe}")
        if None in pair:
            continue
        for side, (one, other) in enumerate((pair, pair[::-1])):
            cosines = opened.unit @ opened.unit[one]
            cosines[one] = -np.inf
            found[probe, side] = 1 + (cosines > cosines[other]).sum()
    return found


SCORES = {
    "recall@10": lambda rank: (rank <= 10).mean(-1),
    "reciprocal rank": lambda rank: (1 / rank).mean(-1),
}


def thirds(counts: list[int]) -> np.ndarray:
    """0 for the frequent third of the probes, 1, and 2 for the rare third."""
    order = np.argsort(-np.asarray(counts), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) * 3 // len(order)
    return place


def show(score: str, measured: dict[str, np.ndarray], third: np.ndarray) -> None:
    """Shapes: measured[method] [seeds, probes]; third [seeds, probes]."""
    difference = measured["skipgram"] - measured["cbow"]
    print(f"  {score:<16}{'skip-gram':>10}{'CBOW':>8}{'difference':>12}")
    for which, name in enumerate(("frequent", "middle", "rare")):
        here = third == which
        row = [values[here].mean() for values in measured.values()]
        mean = intervals.mean(difference[here], seed=0)
        print(f"    {name:<14}{row[0]:>10.3f}{row[1]:>8.3f}{mean.value:>+12.3f} [{mean.low:+.3f}, {mean.high:+.3f}]")

    def interaction(values: np.ndarray, group: np.ndarray) -> float:
        return float(values[group == 2].mean() - values[group == 0].mean())

    by_seed = np.array([interaction(values, group) for values, group in zip(difference, third, strict=True)])
    seeds = intervals.mean(by_seed, seed=0)
    probes = intervals.bootstrap(interaction, difference.reshape(-1), third.reshape(-1), seed=0)
    verdict = "holds" if min(seeds.low, probes.low) > 0 else "is not shown"
    if max(seeds.high, probes.high) < 0:
        verdict = "is contradicted"
    print(
        f"    rare less frequent {seeds.value:+.3f}, over seeds [{seeds.low:+.3f}, {seeds.high:+.3f}], "
        f"over probes [{probes.low:+.3f}, {probes.high:+.3f}]: the claim {verdict}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="+", choices=("grammar", "shakespeare"), default=["grammar", "shakespeare"])
    parser.add_argument("--seeds", type=int, default=5, help="default: 5")
    parser.add_argument("--sentences", type=int, default=40_000, help="of the grammar (default: 40,000)")
    parser.add_argument("--dim", type=int, default=50, help="width (default: 50)")
    parser.add_argument("--epochs", type=int, default=5, help="default: 5")
    parser.add_argument("--loss", choices=("ns", "hs"), default="ns", help="default: ns")
    arguments = parser.parse_args()
    for text in arguments.text:
        found: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
        third = []
        with tempfile.TemporaryDirectory() as name:
            corpus, output = Path(name) / "corpus.txt", Path(name) / "vectors.safetensors"
            for seed in range(arguments.seeds):
                counts = grammar(arguments.sentences, seed, corpus) if text == "grammar" else plays(seed, corpus)
                third.append(thirds(counts))
                for method, lr in METHODS.items():
                    nlpkit.vectors_train(
                        [corpus],
                        output,
                        method=method,
                        loss=arguments.loss,
                        dim=arguments.dim,
                        lr=lr,
                        epochs=arguments.epochs,
                        seed=seed,
                        min_count=1,
                        force=True,
                    )
                    found[method].append(ranks(output, len(counts)))
        middle = [int(np.median(np.array(counts)[third[-1] == which])) for which in range(3)]
        print(
            f"{text}: {arguments.seeds} seeds, {len(counts)} probes, in the middle of the thirds "
            f"{middle[0]:,}, {middle[1]:,}, {middle[2]:,} occurrences of both names together"
        )
        for score, function in SCORES.items():
            show(score, {method: function(np.stack(rank)) for method, rank in found.items()}, np.stack(third))


if __name__ == "__main__":
    main()
