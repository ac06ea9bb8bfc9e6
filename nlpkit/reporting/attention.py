"""Pictures of attention: for one text, where each head of each layer looks.

Shapes: L layers, H heads, T tokens of the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlpkit.base.errors import UserError
from nlpkit.reporting.chart import number
from nlpkit.reporting.html import Markup, join, tag
from nlpkit.reporting.sources import Run
from nlpkit.reporting.tables import badge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = NDArray[np.float32]

LONGEST = 128  # tokens: more cannot be told apart in a picture
LEVELS = 15  # shades
LABEL, CELLS = 96, 384  # of the large picture: width of the token labels and of all cells


@dataclass(frozen=True)
class AttentionMaps:
    """A run's model on the text: its tokens and each layer's attention weights [H, T, T] (rows look at columns)."""

    run: int
    tokens: list[str]
    layers: list[Weights]


def read_attention(runs: list[Run], text: str) -> list[AttentionMaps]:
    """Every model among the runs reads the text. Errors: no model at all, a model without attention or tokenizer, a
    text that is longer than the model reads or than a picture shows."""
    maps = [
        _read(index, run, text) for index, run in enumerate(runs) if run.kind == "model" and run.artifact is not None
    ]
    if not maps:
        raise UserError("--attention changes nothing: no run has a model", hint="add a model file")
    return maps


def _read(index: int, run: Run, text: str) -> AttentionMaps:
    import numpy as np
    import torch

    from nlpkit.exchange.opening import load
    from nlpkit.layers.watching import watching
    from nlpkit.machine.threads import use_threads
    from nlpkit.tasks.reading import encoder_of

    assert run.artifact is not None
    path = run.artifact.path
    with use_threads(1), torch.inference_mode():
        loaded = load(path)
        sequences = encoder_of(loaded, None).encode([text], None)
        tokens = sequences.framed[0].tokens
        if sequences.cut.texts or len(tokens) > LONGEST:
            most = min(LONGEST, loaded.length(None))
            raise UserError(f"the text of --attention has more than {most} tokens", where=path, hint="shorten it")
        if sequences.framed[0].special.all():
            raise UserError("the text of --attention has no tokens", where=path)
        with watching(loaded.model) as seen:
            loaded.model(sequences.batch(np.array([0])))
        pieces = loaded.need_tokenizer().pieces
    if not seen:
        raise UserError("has no attention to be drawn", where=path, hint="leave out --attention, or this model")
    looks = [weights_1HTT[0].float().numpy() for _, weights_1HTT in seen]
    return AttentionMaps(index, [pieces[token] for token in tokens], looks)


def draw(maps: AttentionMaps, name: str, ident: str) -> tuple[Markup, dict[str, object]]:
    """The figure of one model, and what the script needs to show a head in large and its weights."""
    tokens, n_layers = maps.tokens, len(maps.layers)
    rows = []
    for layer, weights_HTT in enumerate(maps.layers):
        cells = [_small(shades(weights_TT), layer, head, tokens) for head, weights_TT in enumerate(weights_HTT)]
        rows.append(tag("div", tag("span", f"layer {layer + 1}", class_="label"), *cells, class_="heads"))
    mean_TT = maps.layers[-1].mean(0)
    large = _large(shades(mean_TT), tokens, f"Layer {n_layers}, mean of its heads")
    script_data: dict[str, object] = {
        "tokens": tokens,
        "ident": ident,
        "maps": [[_bytes(weights_TT) for weights_TT in weights_HTT] for weights_HTT in maps.layers],
    }
    caption = tag("figcaption", badge(maps.run), " ", tag("span", name, class_="name"))
    grid = tag("div", *rows, class_="grid-of-heads scroll", tabindex="0", role="group", aria_label="Every head")
    return tag("figure", caption, tag("div", grid, large, class_="attention"), id=ident), script_data


def shades(weights_TT: Weights) -> list[list[int]]:
    """0 to LEVELS, growing with the square root of the weight, so that the small ones of a broad head are seen."""
    import numpy as np

    return [[int(level) for level in row] for row in np.rint(np.sqrt(weights_TT.clip(0, 1)) * LEVELS)]


def _bytes(weights_TT: Weights) -> str:
    """Weights in 255ths, two hexadecimal digits each, row by row."""
    import numpy as np

    return str(np.rint(weights_TT.clip(0, 1) * 255).astype(np.uint8).tobytes().hex())


def cells(levels: list[list[int]]) -> Markup:
    """A unit square for each cell, all of one shade in one path; neighbours of one shade in a row are one piece."""
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(levels):
        x = 0
        while x < len(row):
            end = x + 1
            while end < len(row) and row[end] == row[x]:
                end += 1
            if row[x]:
                paths.setdefault(row[x], []).append(f"M{x} {y}h{end - x}v1h-{end - x}z")
            x = end
    return join(tag("path", d="".join(paths[level]), class_=f"s{level}") for level in sorted(paths))


def _small(levels: list[list[int]], layer: int, head: int, tokens: list[str]) -> Markup:
    label = f"Layer {layer + 1}, head {head + 1}"
    size = len(tokens)
    svg = tag(
        "svg",
        tag("rect", width=size, height=size, class_="ground"),
        cells(levels),
        viewBox=f"0 0 {size} {size}",
        aria_hidden="true",
    )
    return tag(
        "button",
        svg,
        tag("span", f"{head + 1}"),
        type="button",
        class_="head",
        data_layer=layer,
        data_head=head,
        aria_label=label,
        title=label,
    )


def _large(levels: list[list[int]], tokens: list[str], title: str) -> Markup:
    """One map with its tokens: rows look at columns."""
    size = len(tokens)
    cell = CELLS / size
    font = max(4.0, min(12.0, cell * 0.9))
    labels = []
    for index, token in enumerate(tokens):
        middle = number(LABEL + (index + 0.5) * cell)
        labels.append(tag("text", token[:14], x=LABEL - 5, y=middle, dy="0.32em", text_anchor="end"))
        labels.append(tag("text", token[:14], transform=f"translate({middle} {LABEL - 5}) rotate(-60)", dy="0.32em"))
    ground = tag("rect", width=size, height=size, class_="ground")
    inner = tag(
        "g",
        ground,
        tag("g", cells(levels), class_="cells"),
        class_="map",
        transform=f"translate({LABEL} {LABEL}) scale({cell:.4f})",
    )
    total = LABEL + CELLS + 24  # the last column's token leans over
    svg = tag(
        "svg",
        tag("title", f"{title}: rows look at columns"),
        tag("g", *labels, font_size=number(font)),
        inner,
        viewBox=f"0 0 {total} {total}",
        role="img",
    )
    return tag(
        "div",
        tag("p", title, class_="which", aria_live="polite"),
        svg,
        tag("p", Markup("&nbsp;"), class_="weight", aria_live="polite"),
        class_="large",
    )
