"""The process of one contender: ``python child.py MODULE.FUNCTION FOLDER OPTIONS``. It writes FOLDER/answer.json."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights come from the machine, whoever asks for them
    module, _, function = sys.argv[1].partition(".")
    folder, options = Path(sys.argv[2]), json.loads(sys.argv[3])
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    found = getattr(importlib.import_module(f"bench_peers.{module}"), function)(folder, **options)
    (folder / "answer.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
