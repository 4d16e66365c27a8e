#!/usr/bin/env python3
"""Pack recordings of a real API server into tests/recorded/scenarios.json.gz, which tests/recorded replays.

Input: a folder with order.txt, kubectl-1.37/NAME.json (command, exit, stdout, stderr, exchanges) and manifests/. Output:

    {"manifests": {"web.yaml": TEXT},
     "scenarios": [{"name", "command", "exit", "stdout", "stderr", "requests": [{"method", "path", "status", "body"}, ...]}]}

Bodies are JSON, or {"base64": PROTOBUF}. Left out: OpenAPI and aggregated discovery, which tests of their own compare, tokens, and
events, which the recorded cluster's stand-in for kubelets did not write.

Usage: tools/recorded_scenarios.py RECORDED_FOLDER
"""

import gzip
import json
import pathlib
import sys


def compared(exchange):
    path = exchange["path"].split("?")[0]
    left_out = "openapi" in path or path.endswith(("/events", "/token"))
    return not left_out and "Discovery" not in (exchange.get("response_type") or "")


def main():
    root = pathlib.Path(sys.argv[1])
    manifests = {path.name: path.read_text() for path in sorted((root / "manifests").glob("*.yaml"))}
    scenarios = []
    for name in (root / "order.txt").read_text().split():
        recorded = json.loads((root / "kubectl-1.37" / f"{name}.json").read_text())
        scenario = {key: recorded[key] for key in ("name", "command", "exit", "stdout", "stderr")}
        scenario["requests"] = [
            {"method": x["method"], "path": x["path"], "status": x["status"], "body": x["response"]}
            for x in recorded["exchanges"]
            if isinstance(x.get("response"), dict) and compared(x)
        ]
        scenarios.append(scenario)
    text = json.dumps({"manifests": manifests, "scenarios": scenarios}, separators=(",", ":"))
    path = pathlib.Path(__file__).parent.parent / "tests/recorded/scenarios.json.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(path, len(scenarios), len(text), path.stat().st_size)


if __name__ == "__main__":
    main()
