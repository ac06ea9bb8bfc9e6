"""Are antonyms near neighbours of each other, as near as synonyms? Word pairs by relation, on an English text.

    python benchmarks/relations.py english.txt [--seeds 3] [--method skipgram] [--dim 100]

english.txt is what benchmarks/english.py makes, or any text, a sentence a line. Vectors are learnt from it for each
seed; `vectors evaluate` then measures the pairs below (antonyms, synonyms, hyponyms, past tenses; 24 of each, common
words) and as many pairs drawn at random from the same words. Prints, for each relation, the mean cosine and the median
rank of the second word among the first's neighbours, with the intervals of `vectors evaluate`, and the mean of both
over the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import nlpkit

PAIRS = {
    "antonym": """
        hot cold, good bad, big small, old new, high low, black white, fast slow, open closed, strong weak,
        rich poor, true false, first last, happy sad, long short, early late, easy hard, left right,
        love hate, war peace, day night, north south, buy sell, win lose, start stop""",
    "synonym": """
        big large, small little, happy glad, quick fast, begin start, end finish, buy purchase, help assist,
        error mistake, smart clever, rich wealthy, sad unhappy, hard difficult, car automobile, shop store,
        answer reply, choose select, correct right, show display, wrong incorrect, movie film, funny amusing,
        scary frightening, beautiful lovely""",
    "hyponym": """
        dog animal, cat animal, rose flower, oak tree, car vehicle, apple fruit, hammer tool, gold metal,
        sword weapon, piano instrument, chair furniture, shirt clothing, london city, france country,
        doctor person, red color, english language, monday day, winter season, bread food, football sport,
        snake reptile, beer drink, soldier person""",
    "past tense": """
        go went, see saw, take took, make made, come came, give gave, find found, know knew, think thought,
        write wrote, begin began, run ran, tell told, keep kept, hold held, bring brought, leave left,
        feel felt, fall fell, stand stood, speak spoke, break broke, grow grew, sit sat""",
}


def write_pairs(path: Path) -> None:
    """The set as a file with a column ``relation``; the random pairs are of words of different pairs."""
    pairs = [(*pair.split(), name) for name, listed in PAIRS.items() for pair in listed.split(",")]
    rng = np.random.default_rng(0)
    while len(pairs) < (len(PAIRS) + 1) * 24:
        one, other = rng.choice(len(PAIRS) * 24, 2, replace=False)
        pairs.append((pairs[one][0], pairs[other][1], "random"))
    lines = ["\t".join(pair) for pair in [("word", "other", "relation"), *pairs]]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="the text, a sentence a line")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--method", default="skipgram", help="of vectors train")
    parser.add_argument("--dim", type=int, default=100, help="width of the vectors")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the text")
    parser.add_argument("--threads", type=int, help="default: all cores")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "pairs.tsv")
        found: dict[str, list[dict[str, Any]]] = {}
        for seed in range(asked.seeds):
            vectors = folder / f"{seed}.safetensors"
            made = nlpkit.vectors_train(
                [asked.text],
                vectors,
                method=asked.method,
                dim=asked.dim,
                epochs=asked.epochs,
                seed=seed,
                threads=asked.threads,
            )
            print(f"seed {seed}: {made['vocab_size']:,} words have a vector, of {made['words']:,} in the text")
            for relation in nlpkit.vectors_evaluate(vectors, [folder / "pairs.tsv"])["sets"][0]["relations"]:
                found.setdefault(relation["relation"], []).append(relation)
                shown = [
                    f"{what} {value['value']:{form}} [{value['low']:{form}} .. {value['high']:{form}}]"
                    for what, form in (("cosine", ".3f"), ("rank", ",.0f"))
                    for value in [relation[what]]
                ]
                known = f"({relation['used']} of {relation['items']})"
                print(f"  {relation['relation']:<11} {'  '.join(shown)}  {known}", flush=True)
        print("mean over the seeds")
        for relation, measured in found.items():
            cosine, rank = (mean(item[what]["value"] for item in measured) for what in ("cosine", "rank"))
            print(f"  {relation:<11} cosine {cosine:.3f}  rank {rank:,.0f}")


if __name__ == "__main__":
    main()
