"""An export goes into folders that hold other files: those are never touched."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import toys

from nlpkit.artifact.exported import claims, same_files
from nlpkit.base.errors import UserError
from nlpkit.exchange import folder as folders
from nlpkit.exchange.export import export

NAMES = ["config.json", "model.safetensors", "nlpkit.json", "tokenizer.json", "tokenizer_config.json"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with a README, a hidden folder, and code."""
    clone = tmp_path / "clone"
    (clone / ".git").mkdir(parents=True)
    for name in (".git/HEAD", "README.md", "train.py"):
        (clone / name).write_text("mine")
    return clone


def test_everything_else_in_the_folder_stays(tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = toys.model(tmp_path / "m.safetensors"), toys.model(tmp_path / "n.safetensors", seed=1)
    before = contents(clone)
    monkeypatch.chdir(clone)
    export(first, Path("."))
    one = contents(clone)
    export(second, Path("."), force=True)
    two = contents(clone)
    assert sorted(one.keys() - before.keys()) == NAMES == sorted(two.keys() - before.keys())
    assert before.items() <= one.items() and before.items() <= two.items()
    assert one["model.safetensors"] != two["model.safetensors"]
    export(second, tmp_path / "fresh")
    assert contents(tmp_path / "fresh") == {name: two[name] for name in NAMES}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "nlpkit.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_a_name_that_is_somebody_elses_is_refused(name: str, kind: str, tmp_path: Path, clone: Path) -> None:
    model = toys.model(tmp_path / "m.safetensors", n_layers=1)
    if kind == "file":
        (clone / name).write_text("{}")
    elif kind == "link":
        (tmp_path / "other").write_text("{}")
        (clone / name).symlink_to(tmp_path / "other")
    else:
        (clone / name).mkdir()
    before = contents(clone)
    with pytest.raises(UserError, match="left alone"):
        export(model, clone, force=True)
    assert contents(clone) == before and sorted(os.listdir(tmp_path)) == sorted(
        ["clone", "m.safetensors", *(["other"] if kind == "link" else [])]
    )


def test_a_file_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    model = toys.model(tmp_path / "m.safetensors", n_layers=1)
    export(model, tmp_path / "hf")
    (tmp_path / "hf" / "config.json").write_text("{}")
    for force in (True, False):
        with pytest.raises(UserError, match=r"config\.json: was changed since nlpkit export wrote it") as caught:
            export(model, tmp_path / "hf", force=force)
        assert "--force" not in str(caught.value.hint)
    assert (tmp_path / "hf" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("name", NAMES)
def test_force_is_suggested_only_where_it_helps(name: str, tmp_path: Path) -> None:
    """Whichever file a person changed, put there or removed: what an error suggests then works, and nothing is lost."""
    hf, model = tmp_path / "hf", toys.model(tmp_path / "m.safetensors", n_layers=1)
    export(model, hf)
    for change in ("changed", "somebody's", "removed"):
        side = json.loads((hf / "nlpkit.json").read_text())
        (hf / name).unlink()
        if change != "removed":
            (hf / name).write_text("{}")
        if change == "somebody's" and name != "nlpkit.json":
            del side["files"][name]
            (hf / "nlpkit.json").write_text(json.dumps(side))
        before = contents(hf)
        with pytest.raises(UserError) as caught:
            export(model, hf)
        assert contents(hf) == before
        if "move the file away" in str(caught.value.hint):
            with pytest.raises(UserError, match="left alone"):
                export(model, hf, force=True)
            assert contents(hf) == before and Path(str(caught.value.where)) in {hf / other for other in before}
            Path(str(caught.value.where)).unlink()
            while True:  # without nlpkit.json all the others are somebody's
                try:
                    export(model, hf, force=True)
                    break
                except UserError as error:
                    assert "move the file away" in str(error.hint) and name == "nlpkit.json"
                    Path(str(error.where)).unlink()
        else:
            assert "--force" in str(caught.value.hint)
            export(model, hf, force=True)


def test_an_export_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    model = toys.model(tmp_path / "m.safetensors", n_layers=1)
    made = export(model, tmp_path / "hf")
    os.utime(tmp_path / "hf", (0, 0))
    again = export(model, tmp_path / "hf")
    assert again == {**made, "already_made": True}
    assert (tmp_path / "hf").stat().st_mtime > 0
    with pytest.raises(UserError, match="exists already"):
        export(toys.model(tmp_path / "n.safetensors", seed=2), tmp_path / "hf")


def test_files_of_the_export_before_that_this_one_has_not_are_removed(tmp_path: Path) -> None:
    hf = tmp_path / "hf"
    export(toys.model(tmp_path / "m.safetensors", n_layers=1), hf)
    side = json.loads((hf / "nlpkit.json").read_text())
    (hf / "vocab.txt").write_text("a")
    (hf / "merges.txt").write_text("mine")
    side["files"]["vocab.txt"] = folders.file_sha256(hf / "vocab.txt")
    side["files"]["../m.safetensors"] = folders.file_sha256(tmp_path / "m.safetensors")
    (hf / "nlpkit.json").write_text(json.dumps(side))
    assert claims(hf) is None  # a name that leads out of the folder
    del side["files"]["../m.safetensors"]
    (hf / "nlpkit.json").write_text(json.dumps(side))
    export(toys.model(tmp_path / "n.safetensors", n_layers=1, seed=3), hf, force=True)
    assert sorted(os.listdir(hf)) == sorted([*NAMES, "merges.txt"])


def test_killed_at_any_moment_no_folder_has_files_of_two_models(tmp_path: Path) -> None:
    """A process is killed before each of the renames and removals; whatever was there, weights and config are of one
    model, or there are no weights. The same command then makes the folder whole and leaves nothing behind."""
    first, second = toys.model(tmp_path / "m.safetensors"), toys.model(tmp_path / "n.safetensors", n_layers=1, seed=1)
    for name, model in (("1", first), ("2", second)):
        export(model, tmp_path / name)
    whole = [contents(tmp_path / name) for name in ("1", "2")]
    for there in (True, False):
        hf = tmp_path / f"hf-{there}"
        for moment in range(30):
            if there:
                export(first, hf, force=True)
                (hf / "README.md").write_text("mine")
            if killed_at(moment, second, hf) == 0:
                break
            found = contents(hf) if hf.exists() else {}
            if "model.safetensors" in found:
                assert any(all(found[name] == one[name] for name in NAMES[:2]) for one in whole), (there, moment)
            assert not there or found["README.md"] == b"mine"
            export(second, hf, force=True)
            found = contents(hf)
            assert found.pop("README.md", b"mine") == b"mine" and found == whole[1] and same_files(hf) != there
            assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
        else:
            pytest.fail("the export does not end")
        assert moment > (5 if there else 0)


def killed_at(moment: int, model: Path, hf: Path) -> int:
    """Export in a process of its own that dies at the n-th system call that changes a name; its exit code."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def dies(call):  # type: ignore[no-untyped-def]
            def counted(*given, **more):  # type: ignore[no-untyped-def]
                nonlocal seen
                if seen == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1
                return call(*given, **more)

            return counted

        for name in ("rename", "replace", "unlink", "mkdir", "rmdir"):
            setattr(os, name, dies(getattr(os, name)))
        code = 1
        try:
            export(model, hf, force=True)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
