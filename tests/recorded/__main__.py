"""`python -m tests.recorded`: write down anew what the comparison and the diagnosis say."""

from __future__ import annotations

import argparse
import json

from tests.recorded import FOLDER, RECORDS


def main() -> None:
    """Write one file for each kind of record, each number with six digits."""
    argparse.ArgumentParser(prog="python -m tests.recorded", description=main.__doc__).parse_args()
    for kind, (record, names) in RECORDS.items():
        found = {name: _rounded(record(name)) for name in names()}
        lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items()]
        (FOLDER / f"{kind}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"{kind}: {len(found)}")


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
