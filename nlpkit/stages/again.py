"""A quick check whether a command's result exists already: from the file's record and the inputs' bytes, without the
stage's own imports, of which torch takes seconds.

Only a yes is final. Whatever is unclear (a device to be chosen, an input that can be read once) is left to the stage
itself and `nlpkit.artifact.provenance.Run.settle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.artifact import file
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.recorded import HOW
from nlpkit.artifact.stage import stage
from nlpkit.base.errors import UserError
from nlpkit.base.world import world
from nlpkit.stages import defaults, recipes


def already_made(command: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of an existing result of this command with these arguments; None: there is none, or it is unclear."""
    if command not in nlpkit.MAKES or arguments.get("force") or arguments.get("dry_run") or world().size > 1:
        return None
    try:
        recorded = file.read(Path(arguments["output"]))
        options = _resolved(command, arguments, recorded)
        return None if options is None else _settled(command, options, recorded.provenance)
    except (UserError, OSError, KeyError, TypeError, PackageNotFoundError):  # the stage says what is wrong
        return None


def _resolved(command: str, arguments: Mapping[str, Any], recorded: file.Artifact) -> dict[str, Any] | None:
    """The arguments as the stage records them; None where only the stage knows them."""
    options = dict(arguments)
    if options.get("device", "cpu") != "cpu":
        return None
    if "parts" in options and options["parts"] is None:
        options["parts"] = 1
    if command in defaults.RULES:  # without --objective it is the family's, and so the recorded one
        training = recorded.config["training"]
        recipe = recipes.options_of(options.get("recipe"), training["objective"])
        options = defaults.filled(command, defaults.Facts(**training["facts"]), options, recipe)
    return options


@stage
def _settled(command: str, options: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Start the recorded run with these options: it ends at once if they are the same. Errors: UserError if not."""
    roles = list(dict.fromkeys(item["role"] for item in recorded["inputs"]))
    for role in roles:
        paths = options[role] if isinstance(options[role], (list, tuple)) else [options[role]]
        if not all(path is not None and (path.is_file() or path.is_dir()) for path in paths):
            raise UserError("is not given, or can be read once only", where=role)
    others = {
        name
        for name in options.keys() - recorded["options"].keys() - set(roles) - HOW
        if options[name] not in (None, [], ())
    }
    missing = recorded["options"].keys() - options.keys()
    if others or missing:
        raise UserError("the arguments are not those of the record", where=str(sorted(others | missing)))
    known = {name: options[name] for name in options if name in recorded["options"] or name in roles or name in HOW}
    libraries = tuple(name for name in recorded["versions"] if name != "nlpkit")
    Run.start(command, known, inputs=roles, libraries=libraries)
    raise UserError("is not there any more")
