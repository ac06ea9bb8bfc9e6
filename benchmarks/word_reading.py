"""How fast a text becomes what word vectors are learnt from: nlpkit beside gensim, on one thread.

"vocabulary": nlpkit splits and lower-cases the text, counts its words, chooses those that occur five times, and leaves
their ids on disk. gensim counts what stands between white space (`Word2Vec.build_vocab` of a `LineSentence`), and will
split the text once more in each epoch. "dictionary" is nlpkit's rule in Python with a memory of chunks, counting only.
"phrases": one pass of `--phrases`, the text having been read, ids to ids; and `gensim.models.phrases`, which finds its
phrases in the text and writes it with them, in words. That both join the same pairs is a test
(tests/vectors/test_vectors_phrases.py).

Each measurement is a process of its own; they take turns. Seconds are the processor's, without what importing and
compiling takes; memory is the largest resident size, with everything.

    python benchmarks/word_reading.py TEXT            # such as benchmarks/english.py makes
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from nlpkit.data.corpus import documents
from nlpkit.stages.tokens import Texts

MIN_COUNT, THRESHOLD = 5, 100.0
Seconds = float


def sentences(text: Path) -> Iterator[str]:
    return (sentence for document in documents([text]) for sentence in document.sentences)


def timed(work: Callable[[], object]) -> Seconds:
    start = time.process_time()
    work()
    return time.process_time() - start


def ours(text: Path, folder: Path, *, phrases: bool) -> Seconds:
    from nlpkit.vectors.text.counting import Spool, choose_words, count, rewritten
    from nlpkit.vectors.text.phrases import join
    from nlpkit.vectors.text.words import Words

    target = folder / "target"

    def read(path: Path) -> Seconds:
        start = time.process_time()
        words, spool = Words(lowercase=True), Spool(target)
        lines = Texts([path], "text", "error", (0, 1)).lines()
        counts = count((words(text) for text, _ in lines), spool, "reading")
        names = words.names
        if phrases:
            start = time.process_time()
            join(spool, names, counts, discount=MIN_COUNT, threshold=THRESHOLD, target=target)
        else:
            _, final = choose_words(names, counts, min_count=MIN_COUNT, vocab_size=None)
            rewritten(spool.blocks(), final, target)
        return time.process_time() - start

    warm = folder / "warm.txt"
    warm.write_text("the café is warm\nthe café is warm\n" * 9, encoding="utf-8")
    read(warm)  # compiles
    return read(text)


def gensim_vocabulary(text: Path, folder: Path) -> Seconds:
    from gensim.models.word2vec import LineSentence, Word2Vec

    return timed(lambda: Word2Vec(min_count=MIN_COUNT).build_vocab(LineSentence(str(text))))


def dictionary(text: Path, folder: Path) -> Seconds:
    from nlpkit.tokenizers.pretokenize import words_by

    split = words_by(lower=True, strip=False)

    def read() -> None:
        counts: Counter[str] = Counter()
        known: dict[str, list[str]] = {}
        for sentence in sentences(text):
            for chunk in sentence.split():
                words = known.get(chunk)
                if words is None:
                    found = split(chunk)
                    words = known[chunk] = [word for word in found if any(map(str.isalnum, word))]
                counts.update(words)

    return timed(read)


def gensim_phrases(text: Path, folder: Path) -> Seconds:
    from gensim.models.phrases import Phrases
    from gensim.models.word2vec import LineSentence

    def work() -> None:
        model = Phrases(LineSentence(str(text)), min_count=MIN_COUNT, threshold=THRESHOLD)
        with open(folder / "phrases.txt", "w", encoding="utf-8") as file:
            file.writelines(" ".join(words) + "\n" for words in model[LineSentence(str(text))])

    return timed(work)


SIDES: dict[str, Callable[[Path, Path], Seconds]] = {
    "vocabulary, nlpkit": lambda text, folder: ours(text, folder, phrases=False),
    "vocabulary, gensim": gensim_vocabulary,
    "vocabulary, dictionary": dictionary,
    "phrases, nlpkit": lambda text, folder: ours(text, folder, phrases=True),
    "phrases, gensim": gensim_phrases,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="measure this alone, here, and print JSON")
    asked = parser.parse_args()
    if asked.side:
        with tempfile.TemporaryDirectory() as folder:
            seconds = SIDES[asked.side](asked.text, Path(folder))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "memory_mb": memory}))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(asked.runs):
        for side, runs in found.items():
            command = [sys.executable, __file__, str(asked.text), "--side", side]
            runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    size = asked.text.stat().st_size
    print(f"{asked.text.name}, {size / 1e6:.1f} MB, {asked.runs} runs\n")
    print("| | seconds, median [least..greatest] | MB of text a second | memory, MB |\n|---|---|---|---|")
    for side, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        middle = statistics.median(seconds)
        memory = max(run["memory_mb"] for run in runs)
        print(
            f"| {side} | {middle:.2f} [{min(seconds):.2f}..{max(seconds):.2f}] | {size / 1e6 / middle:.1f} "
            f"| {memory:,.0f} |"
        )


if __name__ == "__main__":
    main()
