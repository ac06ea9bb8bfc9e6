"""One vector for "bank": a static vector of a word with two senses is a mixture of the two.

    python benchmarks/polysemy.py                        # some minutes
    python benchmarks/polysemy.py --text english.txt --pairs 100 --min-count 200 --dim 100

Words with two senses are planted. Two words that have nothing to do with each other are taken from the text, and half
of the occurrences of both, by a coin, are replaced by one new word. So the new word and both originals are learnt in
one run, in one space, and can be compared with no alignment. The text is Shakespeare's, or --text (a sentence a line).
Measured for each pair, negative sampling, skip-gram or --method:

    mixture    cosine of the new word's vector with the mean of the two originals, weighted by their frequency; the
               claim is that it is above 0.9
    control    the same with the originals of another pair, which have nothing to do with the new word
    halves     how alike the halves of a word of one sense are that was split in the same way, as sampling and training
               are noise; half as many words as there are pairs
    neighbours of the new word's ten nearest, the share that is among the ten nearest of the one or of the other
               original (the originals themselves are left out), and the share of the original that has fewer there;
               beside it, the share that the halves of one word have in common

The more frequent half of the pairs, and of the split words, is given as well: noise falls with frequency.
Intervals of 95 % are bootstrapped over all pairs of all seeds. A seed draws pairs, coins and training.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from frequent_rare import words_of

import nlpkit
from nlpkit.measure import intervals
from nlpkit.stages import demo_data as shakespeare
from nlpkit.vectors.file import Vectors, load

SKIPPED = 100  # the most frequent words are grammar, not meaning
NEAREST = 10
SAID = {
    "mixture": "the new word with the weighted mean of its originals",
    "halves": "for comparison, the two halves of a word of one sense",
    "mixture, frequent": "the more frequent half of the pairs",
    "halves, frequent": "the more frequent half of the split words",
    "control": "the new word with the mean of another pair",
    "originals": "the two originals of a pair",
    "share": "of the new word's ten neighbours, those that are an original's",
    "lesser share": "those of the original that has fewer of them",
    "halves share": "of one half's ten neighbours, those that are the other's",
}


def plant(lines: list[list[str]], pairs: int, least: int, seed: int, path: Path) -> list[tuple[str, ...]]:
    """Write the text with new words in it; returns of which originals each is made: the pairs, then words alone.

    The new word m7 stands for half of the occurrences of the originals in place 7; a word is an original once.
    """
    rng = np.random.default_rng(seed)
    counts = Counter(word for line in lines for word in line)
    able = [word for word, count in counts.most_common()[SKIPPED:] if count >= least and word.isalpha()]
    singles = pairs // 2
    if len(able) < 2 * pairs + singles:
        raise SystemExit(f"only {len(able)} words occur {least} times, {2 * pairs + singles} are needed")
    drawn = [able[place] for place in rng.choice(len(able), 2 * pairs + singles, replace=False)]
    planted: list[tuple[str, ...]] = [(drawn[2 * number], drawn[2 * number + 1]) for number in range(pairs)]
    planted += [(word,) for word in drawn[2 * pairs :]]
    name = {word: f"m{number}" for number, originals in enumerate(planted) for word in originals}
    with path.open("w") as out:
        for line in lines:
            coins = rng.random(len(line)) < 0.5
            out.write(
                " ".join(name[word] if coin and word in name else word for word, coin in zip(line, coins, strict=True))
                + "\n"
            )
    return planted


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def near(opened: Vectors, row: int, without: set[int]) -> set[int]:
    cosines = opened.unit @ opened.unit[row]
    cosines[[row, *without]] = -np.inf
    return set(np.argsort(-cosines)[:NEAREST].tolist())


def measure(opened: Vectors, planted: list[tuple[str, ...]]) -> dict[str, list[float]]:
    """A value a pair, or a split word for what begins with "halves"."""
    found: dict[str, list[float]] = {name: [] for name in SAID}
    exact = opened.vectors.astype(np.float64)
    new = [opened.row(f"m{number}") for number in range(len(planted))]
    rows = [[opened.row(word) for word in originals] for originals in planted]
    mixtures = [np.average(exact[originals], 0, opened.counts[originals]) for originals in rows]
    pairs = sum(len(originals) == 2 for originals in planted)
    for number, (row, originals) in enumerate(zip(new, rows, strict=True)):
        like = cosine(exact[row], mixtures[number])
        mine, *theirs = [near(opened, word, {*originals, row}) for word in (row, *originals)]
        if len(originals) == 1:
            found["halves"].append(like)
            found["halves share"].append(len(mine & theirs[0]) / NEAREST)
            continue
        found["mixture"].append(like)
        found["control"].append(cosine(exact[row], mixtures[(number + 1) % pairs]))
        found["originals"].append(cosine(*exact[originals]))
        found["share"].append(len(mine & (theirs[0] | theirs[1])) / NEAREST)
        found["lesser share"].append(min(len(mine & side) for side in theirs) / NEAREST)
    for name, part in (("mixture", slice(pairs)), ("halves", slice(pairs, None))):
        counts = opened.counts[new[part]]
        found[f"{name}, frequent"] = np.array(found[name])[counts >= np.median(counts)].tolist()
    return found


def example(opened: Vectors, originals: tuple[str, ...], number: int) -> str:
    row, rows = opened.row(f"m{number}"), {opened.row(word) for word in originals}
    cosines = opened.unit @ opened.unit[row]
    cosines[[row, *rows]] = -np.inf
    words = [opened.words[place] for place in np.argsort(-cosines)[:NEAREST]]
    return f'  "{originals[0]}" and "{originals[1]}" as one word: {" ".join(words)}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=None, help="a sentence a line (default: Shakespeare's plays)")
    parser.add_argument("--method", choices=("skipgram", "cbow"), default="skipgram")
    parser.add_argument("--seeds", type=int, default=3, help="default: 3")
    parser.add_argument("--pairs", type=int, default=100, help="planted in each run (default: 100)")
    parser.add_argument("--min-count", type=int, default=200, help="occurrences of each original (default: 200)")
    parser.add_argument("--dim", type=int, default=50, help="width (default: 50)")
    parser.add_argument("--epochs", type=int, default=10, help="default: 10")
    arguments = parser.parse_args()
    if arguments.text is None:
        sentences = [line for speech in shakespeare.speeches() for line in speech["text"].split("\n")]
    else:
        sentences = arguments.text.read_text("utf-8").splitlines()
    lines = [words for line in sentences if (words := words_of(line))]
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        corpus, output = Path(name) / "corpus.txt", Path(name) / "vectors.safetensors"
        for seed in range(arguments.seeds):
            planted = plant(lines, arguments.pairs, arguments.min_count, seed, corpus)
            lr = {"skipgram": 0.025, "cbow": 0.05}[arguments.method]
            nlpkit.vectors_train(
                [corpus],
                output,
                method=arguments.method,
                dim=arguments.dim,
                lr=lr,
                seed=seed,
                epochs=arguments.epochs,
                force=True,
            )
            opened = load(output)
            for measure_name, values in measure(opened, planted).items():
                found.setdefault(measure_name, []).extend(values)
            if seed == 0:
                print(*(example(opened, planted[number], number) for number in range(3)), sep="\n")
    print(f"{arguments.seeds} seeds, {arguments.pairs} pairs in each, {arguments.method}, width {arguments.dim}")
    for measure_name, text in SAID.items():
        value = intervals.mean(np.array(found[measure_name]), seed=0)
        print(f"  {measure_name:<18} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]  {text}")
    above, halves = (np.mean(np.array(found[name]) > 0.9) for name in ("mixture", "halves"))
    print(f"  {above:.0%} of the mixtures are above 0.9, and {halves:.0%} of the halves of one word")


if __name__ == "__main__":
    main()
