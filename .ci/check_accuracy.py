"""Fails unless the newest run below a folder reached the given test accuracy."""

import json
import pathlib
import sys

root, least = pathlib.Path(sys.argv[1]), float(sys.argv[2])
logs = sorted(root.glob("logs/*/metrics.jsonl"), key=lambda p: p.stat().st_mtime)
if not logs:
    sys.exit(f"no metrics.jsonl below {root}/logs")
rows = [json.loads(line) for line in logs[-1].read_text().splitlines()]
reached = max(row["best_test_accuracy"] for row in rows if row.get("final"))
print(f"best test accuracy {reached:.4f}, wanted {least}")
sys.exit(reached < least)
