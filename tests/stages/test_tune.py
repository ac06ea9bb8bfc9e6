"""A search: a point of the grid and a seed is an ordinary run; killed, it goes on; what was chosen can be redone."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import toys
from making import dying_after, token_file

import nlpkit
from nlpkit.artifact import file, search
from nlpkit.base.errors import RunError, UserError
from nlpkit.cli.app import run
from nlpkit.measure.intervals import student
from nlpkit.stages import grid

COMMON: dict[str, Any] = {"steps": 8, "batch_tokens": 256, "threads": 1, "metric": "loss"}
GRID = ["lr=1e-4,1e-2", "freeze=embeddings,all"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    toys.model(tmp_path / "bert.safetensors", n_layers=1, d_model=16)
    toys.texts(tmp_path / "train.jsonl", 80)
    toys.texts(tmp_path / "dev.jsonl", 40, seed=1)
    return tmp_path


def tune(output: str = "c.safetensors", **options: Any) -> dict[str, Any]:
    given = {"grid": GRID, "seeds": "1..2", **COMMON, **options}
    return dict(nlpkit.tune_finetune("bert.safetensors", "train.jsonl", output, dev="dev.jsonl", **given))


def line(*words: str, output: str = "c.safetensors") -> list[str]:
    small = ["--steps", "8", "--batch-tokens", "256", "--threads", "1", "--metric", "loss"]
    return ["tune", "finetune", "bert.safetensors", "train.jsonl", "--dev", "dev.jsonl", "-o", output, *small, *words]


def test_the_best_run_is_written_with_the_record_of_all(here: Path, capsys: Any) -> None:
    words = [word for axis in GRID for word in ("--grid", axis)]
    assert run(line(*words, "--seeds", "1..2", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    losses = {json.dumps(point["options"]): point["scores"] for point in found["points"]}
    assert [point["options"] for point in found["points"]] == [
        {"freeze": "embeddings", "lr": 0.0001},
        {"freeze": "all", "lr": 0.0001},
        {"freeze": "embeddings", "lr": 0.01},
        {"freeze": "all", "lr": 0.01},
    ]
    alone = nlpkit.finetune(
        "bert.safetensors", "train.jsonl", "alone.safetensors", dev="dev.jsonl", lr=1e-2, freeze="all", seed=2, **COMMON
    )
    assert losses['{"freeze": "all", "lr": 0.01}'][1] == -alone["score"]
    one = Path("c.safetensors.runs/freeze=all,lr=0.01,seed=2.safetensors")
    assert one.read_bytes() == Path("alone.safetensors").read_bytes()
    means = [sum(scores) / 2 for scores in losses.values()]
    best = means.index(min(means))
    assert [point["best"] for point in found["points"]] == [number == best for number in range(4)]
    assert found["points"][best]["mean"] == pytest.approx(means[best])
    assert found["best"]["score"] == min([*losses.values()][best])
    written, chosen = file.read(Path("c.safetensors")), search.words(found["best"]["options"])
    source = file.read(Path(f"c.safetensors.runs/{chosen},seed={found['best']['seed']}.safetensors"))
    assert source.sha256 == found["best"]["run"] and written.metadata["tensors"] == source.metadata["tensors"]
    assert {name: value for name, value in written.config.items() if name != "search"} == source.config
    assert written.provenance["command"] == "tune finetune" and written.provenance["options"]["seeds"] == "1..2"
    assert run(["verify", str(source.path)]) == 0  # the search itself is verified below
    assert run(["info", "c.safetensors"]) == 0
    assert "search = {best, metric, points, seeds}, see --json" in capsys.readouterr().out


def test_killed_it_goes_on_run_by_run_in_the_same_bytes(here: Path) -> None:
    axis = ["lr=1e-4,1e-2"]
    whole = tune("whole.safetensors", grid=axis)
    with dying_after(13):  # in the second run of four
        tune(grid=axis, save_every=2)
    assert [path.name for path in Path("c.safetensors.runs").glob("*.safetensors")] == ["lr=0.0001,seed=1.safetensors"]
    assert not Path("c.safetensors").exists()
    heard: list[dict[str, Any]] = []
    with nlpkit.base.events.listen(heard.append):
        assert tune(grid=axis, save_every=2)["sha256"] == whole["sha256"]
    started = [record["step"] for record in heard if record["event"] == "training"]
    assert started == [4, 0, 0], "neither the finished run nor the first steps of the second"
    again = tune(grid=axis)
    assert again["already_made"] and again["points"] == whole["points"]


def test_a_larger_grid_computes_only_what_is_new(here: Path) -> None:
    tune(grid=["lr=1e-3"])
    with pytest.raises(UserError, match="another run made it: grid was"):
        tune(grid=["lr=1e-3,1e-2"])
    heard: list[dict[str, Any]] = []
    with nlpkit.base.events.listen(heard.append):
        tune(grid=["lr=1e-3,1e-2"], force=True)
    assert sum(record["event"] == "training" for record in heard) == 2
    toys.texts(here / "train.jsonl", 80, seed=5)
    Path("c.safetensors").unlink()
    with pytest.raises(UserError, match=r"lr=0.001,seed=1.safetensors.*train.jsonl has other bytes"):
        try:
            tune(grid=["lr=1e-3,1e-2"])
        except UserError as error:
            raise UserError(str(error)) from None


def test_halving_goes_on_with_the_better_half(here: Path) -> None:
    found = tune(grid=["lr=1e-5,1e-2,1e-4"], seeds="1", halving=True)
    record = file.read(Path("c.safetensors")).config["search"]["points"]
    assert [[rung["steps"] for rung in point["rungs"]] for point in record if len(point["rungs"]) == 3] == [[2, 4, 8]]
    for rung, kept in enumerate((2, 1)):
        here_now = [point for point in record if len(point["rungs"]) > rung]
        ranked = sorted(here_now, key=lambda point, rung=rung: -search.mean(point["rungs"][rung]["scores"]))
        assert [point for point in here_now if len(point["rungs"]) > rung + 1] == [
            point for point in here_now if point in ranked[:kept]
        ]
    assert len([*Path("c.safetensors.runs").iterdir()]) == 3 + 2 + 1
    (best,) = (point for point in found["points"] if point["best"])
    assert best["steps"] == 8
    assert run(["verify", "c.safetensors"]) == 0


def test_a_run_that_diverges_counts_as_the_worst(here: Path) -> None:
    found = tune(grid=["lr=1000,1e-3"], schedule="constant", clip_norm=0.0, steps=20)
    assert found["points"][0]["scores"] == [None, None] and found["points"][0]["worse"] and found["points"][1]["best"]
    with pytest.raises(RunError, match="every point has a run that diverged"):
        tune("d.safetensors", grid=["lr=1000"], schedule="constant", clip_norm=0.0, steps=20)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--grid lrr=1", 'grid: option of finetune "lrr" is unknown; did you mean "lr"?'),
        ("--grid lr", 'grid is "lr", expected NAME=V1,V2'),
        ("--grid lr=1e-3,x", '--lr is "x", expected a number, such as 5e-4'),
        ("--grid max-len=1.5", '--max-len is "1.5", expected an integer, such as 1000'),
        ("--grid lr=-1", "lr is -1.0, expected at least 0"),
        ("--grid lr=1e-3,0.001", "grid has lr 0.001 twice"),
        ("--grid lr=1 --grid lr=2", "grid has lr twice"),
        ("--grid steps=1,2", "--steps is 8, and the grid has values for it too"),
        ("--grid seed=1,2", 'grid: option of finetune "seed" is unknown'),
        ("--grid lr=1e-3 --grid optimizer=adamw,adamx", 'optimizer "adamx" is unknown; did you mean "adamw"?'),
        ("--grid pooling=mean,meen", 'pooling "meen" is unknown'),
        ("--grid label=label,id", "points differ in label (id, label), and their results on dev measure different"),
        ("--seeds 3..1", 'seeds is "3..1", expected a range'),
        ("--seeds 1,x", 'seeds is "1,x", expected integers'),
        ("--seeds 1..3,2", "has a seed twice"),
        ("--seeds -1", "seed is -1, expected at least 0"),
        ("--seed 1", 'no option --seed; did you mean "--seeds"?'),
        ("--gird lr=1", 'no option --gird; did you mean "--grid"?'),
        ("--halving", "--halving changes nothing: the grid has one point"),
        ("--steps 1 --halving --grid lr=1,2,3", "a run makes 1 updates, and the search divides them by 4"),
    ],
)
def test_what_the_command_does_not_take_is_refused_before_anything_runs(
    here: Path, capsys: Any, words: str, says: str
) -> None:
    assert run(line(*words.split())) == 2
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["bert.safetensors", "dev.jsonl", "train.jsonl"]


def test_a_search_needs_dev_and_files_that_last(here: Path, capsys: Any) -> None:
    assert run(["tune", "finetune", "bert.safetensors", "train.jsonl", "-o", "c.safetensors"]) == 2
    assert "Missing option '--dev'" in capsys.readouterr().err
    assert run(["tune", "finetune", "bert.safetensors", "-", "--dev", "dev.jsonl", "-o", "c.safetensors"]) == 2
    assert "can be read once only, and every run reads it" in capsys.readouterr().err


def test_losses_of_different_masks_are_not_compared(tmp_path: Path) -> None:
    token_file(tmp_path / "t.safetensors")
    shape: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 1, "max_len": 16, "steps": 2}
    paths = ([tmp_path / "t.safetensors"], tmp_path / "m.safetensors")
    for axis, says in (
        ("mask-ratio=0.15,0.3", r"points differ in mask-ratio \(0.15, 0.3\)"),
        ("model=bert,gpt2", "points differ in objective"),
    ):
        with pytest.raises(UserError, match=says):
            nlpkit.tune_pretrain(*paths, dev=tmp_path / "t.safetensors", grid=[axis], **shape)
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_dry_run_counts_the_runs(here: Path, capsys: Any) -> None:
    assert run(line("--grid", "lr=1,2,3", "--seeds", "1,5", "--halving", "-n")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == 2 * (3 + 2 + 1) and told["seconds"] > 0 and len(told["points"]) == 3
    assert sorted(path.name for path in here.iterdir()) == ["bert.safetensors", "dev.jsonl", "train.jsonl"]


def record(*scores: list[float], **options: list[Any]) -> dict[str, Any]:
    """A search of points with these scores, one rung each."""
    points = [
        {
            "options": {name: values[number] for name, values in options.items()},
            "rungs": [{"steps": 10, "scores": list(each), "runs": ["0" * 64 for _ in each]}],
        }
        for number, each in enumerate(scores)
    ]
    best = search.ranked(list(scores))[0]
    seeds = list(range(len(scores[0])))
    return {"metric": "accuracy", "seeds": seeds, "points": points, "best": [best, search.best_seed(scores[best])]}


def test_the_table_says_what_is_chance_and_what_is_at_the_edge() -> None:
    told = search.table(record([0.70, 0.72, 0.71], [0.80, 0.84, 0.79], [0.79, 0.85, 0.78], lr=[0.1, 0.2, 0.4]))
    assert [point["worse"] for point in told["points"]] == [True, None, False]
    assert told["best"] == {"options": {"lr": 0.2}, "seed": 1, "score": 0.84, "run": "0" * 64}
    assert told["remarks"][0] == "not worse than the best by more than chance (95 %): lr=0.4"
    assert not any("edge" in remark for remark in told["remarks"])
    told = search.table(record([0.9], [0.9], lr=[0.1, 0.2]))
    assert told["best"]["options"] == {"lr": 0.1}, "of equal ones the first"
    assert told["points"][0]["low"] is None and "one seed" in told["remarks"][0]
    assert "lr=0.1 is at the edge of the grid: a smaller value may be better" in told["remarks"]


def test_a_record_that_no_search_wrote_is_refused() -> None:
    good = record([0.9, 0.8], [0.7, 0.6], lr=[0.1, 0.2])
    assert search.expected(good) is None
    point = good["points"][1]
    for change in (
        {"points": []},
        {"points": [point, {**point, "rungs": []}]},
        {"points": [point, {**point, "rungs": [{**point["rungs"][0], "scores": [0.5]}]}]},
        {"points": [{**point, "rungs": [{**point["rungs"][0], "scores": [None, None]}]}]},
        {"points": [point, {**point, "options": {"dropout": 0.1}}]},
        {"points": [point, {**point, "options": {"lr": [0.1]}}]},
        {"points": [point, {**point, "options": 3}]},
        {"points": [{**point, "rungs": [{**point["rungs"][0], "scores": [10**400, 1]}]}]},
        {"best": [2, 0]},
        {"best": [0, -1]},
        {"best": None},
        {"seeds": ["1", "2"]},
        {"metric": 3},
    ):
        assert search.expected({**good, **change}), change


def test_whatever_record_is_not_refused_has_a_table() -> None:
    """Of 2,000 records with one value replaced, removed or doubled."""
    random_number, refused = random.Random(0), 0
    for _ in range(2000):
        changed = copy.deepcopy(record([0.9, 0.8, 0.7], [0.7, 0.6, 0.9], lr=[0.1, 0.2], freeze=["all", "1"]))
        holder: Any = changed
        for _ in range(random_number.randrange(6)):
            keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
            inner = [key for key in keys if isinstance(holder[key], (dict, list)) and holder[key]]
            if not inner:
                break
            holder = holder[random_number.choice(inner)]
        key = random_number.choice([*holder] if isinstance(holder, dict) else [*range(len(holder))])
        value = random_number.choice([None, True, -1, 10**400, 1e308, "", "x", [], {}, [0.5], {"a": 1}])
        kind = random_number.randrange(3)
        if kind == 0:
            holder[key] = value
        elif kind == 1:
            del holder[key]
        elif isinstance(holder, list):
            holder.append(holder[key])
        if search.expected(changed) is None:
            search.table(changed)
        else:
            refused += 1
    assert refused > 1000


def test_students_interval_is_that_of_the_books() -> None:
    """Three values: 4.303 standard errors (Student 1908, table for 2 degrees of freedom)."""
    found = student([1.0, 2.0, 3.0])
    assert found.value == 2.0 and found.high - 2.0 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert found.low == pytest.approx(4.0 - found.high)
    assert student([1.0]).to_json()["low"] is None


def test_rungs_halve_points_and_double_updates() -> None:
    for points, divisors, survivors in (
        (1, [1], [1]),
        (2, [2, 1], [2, 1]),
        (5, [8, 4, 2, 1], [5, 3, 2, 1]),
        (8, [8, 4, 2, 1], [8, 4, 2, 1]),
    ):
        assert grid.divisors(points, True) == divisors and grid.survivors(points, divisors) == survivors
    assert grid.divisors(5, False) == [1]
    assert grid.name_of({"lr": 0.1, "mask_mix": "80/10/10", "epochs": None, "seed": 3}) == (
        "lr=0.1,mask-mix=80%2F10%2F10,seed=3.safetensors"
    )
