"""Whether a command's result is there already, told in a moment: from the file's record and the inputs' bytes, without
the stage's own imports, of which torch takes seconds.

Only a yes is final. Whatever is unclear (a device to be chosen, an input that can be read once) the stage itself finds
out, by `nlpkit.artifact.provenance.Run.settle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from nlpkit.artifact import file
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.recorded import HOW
from nlpkit.artifact.stage import stage
from nlpkit.base.errors import UserError
from nlpkit.base.world import world
from nlpkit.stages import recipes

MAKERS = (
    "tokenizer train",
    "tokens",
    "vectors train",
    "vectors cooccur",
    "vectors glove",
    "pretrain",
    "finetune",
    "distill",
    "embed",
    "import",
)


def already_made(command: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of the result that is there, made by this command with these arguments; None: not so, or unclear."""
    if command not in MAKERS or arguments.get("force") or arguments.get("dry_run") or world().size > 1:
        return None
    try:
        recorded = file.read(Path(arguments["output"]))
        given = _resolved(command, arguments, recorded)
        return None if given is None else _settled(command, given, recorded.provenance)
    except (UserError, OSError, KeyError, TypeError, PackageNotFoundError):  # the stage says what is wrong
        return None


def _resolved(command: str, arguments: Mapping[str, Any], recorded: file.Artifact) -> dict[str, Any] | None:
    """The arguments as the stage records them; None where only the stage can tell."""
    given = dict(arguments)
    if given.get("device", "cpu") != "cpu":
        return None
    if "parts" in given and given["parts"] is None:
        given["parts"] = 1
    if command == "pretrain":  # the objective is the family's where none is given, and so the recorded one's
        given = recipes.resolve(given["recipe"], recorded.config["training"]["objective"], given)
    return given


@stage
def _settled(command: str, given: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Begin the recorded run with what is given, which ends at once if they are the same. Errors: UserError if not."""
    roles = list(dict.fromkeys(item["role"] for item in recorded["inputs"]))
    for role in roles:
        paths = given[role] if isinstance(given[role], (list, tuple)) else [given[role]]
        if not all(path.is_file() or path.is_dir() for path in paths):
            raise UserError("can be read once only", where=role)
    others = {
        name
        for name in given.keys() - recorded["options"].keys() - set(roles) - HOW
        if given[name] not in (None, [], ())
    }
    missing = recorded["options"].keys() - given.keys()
    if others or missing:
        raise UserError("the arguments are not those of the record", where=str(sorted(others | missing)))
    known = {name: given[name] for name in given if name in recorded["options"] or name in roles or name in HOW}
    libraries = tuple(name for name in recorded["versions"] if name != "nlpkit")
    Run.start(command, known, inputs=roles, libraries=libraries)
    raise UserError("is not there any more")
