"""Write tensor_names.json: every tensor's name and shape, for each family at size tiny with all its heads.

Names are a contract (docs/file-format.md): run this only when one was changed on purpose.

    python tests/golden/make_names.py
"""

from __future__ import annotations

import json
from pathlib import Path

from nlpkit.models import FAMILIES, family
from nlpkit.models.load import add_classifier
from nlpkit.models.sizes import config_for

PATH = Path(__file__).with_name("tensor_names.json")


def tensor_names() -> dict[str, dict[str, list[int]]]:
    found = {}
    for name in FAMILIES:
        chosen = family(name)
        config = config_for(chosen, "tiny", vocab_size=1000, max_len=128, dropout=0.1)
        network = chosen.build(config, chosen.heads)
        add_classifier(network, 3)
        found[name] = {key: list(value.shape) for key, value in sorted(network.state_dict().items())}
    return found


if __name__ == "__main__":
    PATH.write_text(json.dumps(tensor_names(), indent=1) + "\n", "utf-8")
