#!/usr/bin/env python3
"""Trim recordings of a real API server into src/sim/schema/testdata/recorded.json.gz, the fixture of the schema and patch tests.

Input: a folder with order.txt, kubectl-1.37/NAME.json and clients.jsonl, each scenario a list of HTTP exchanges (method, path,
content_type, request, status, response; protobuf as {"base64": ...}). Output:

    {"patches":  [{"name", "type", "before", "patch", "after"}],      accepted patches, objects without managedFields
     "creates":  [{"name", "request", "response"}],                   accepted POST and PUT of whole objects
     "refused":  [{"name", "request", "code", "message", "causes"}],  refused POST of whole objects
     "protobuf": [{"name", "base64", "json"}],                        bodies, with the same object as JSON where it was recorded
     "objects":  [...]}                                               other objects as the server printed them

Usage: tools/recorded_fixtures.py RECORDED_FOLDER
"""

import base64
import copy
import gzip
import json
import pathlib
import sys


def objects(node):
    if isinstance(node, dict):
        meta = node.get("metadata")
        if isinstance(meta, dict) and "uid" in meta and "resourceVersion" in meta and node.get("kind") != "PartialObjectMetadata":
            yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


def trim(node):
    node = copy.deepcopy(node)
    if isinstance(node, dict):
        for found in [node, *objects(node)]:
            if isinstance(found.get("metadata"), dict):
                found["metadata"].pop("managedFields", None)
    return node


def protobuf(body):
    if isinstance(body, dict) and "base64" in body:
        raw = base64.b64decode(body["base64"])
    elif isinstance(body, str):
        raw = body.encode()
    else:
        return None
    return base64.b64encode(raw).decode() if raw.startswith(b"k8s\0") else None


def main():
    root = pathlib.Path(sys.argv[1])
    scenarios = [json.loads((root / "kubectl-1.37" / f"{name}.json").read_text()) for name in (root / "order.txt").read_text().split()]
    scenarios += [json.loads(line) for line in (root / "clients.jsonl").read_text().splitlines()]
    out = {"patches": [], "creates": [], "refused": [], "protobuf": [], "objects": []}
    state, printed, bodies = {}, {}, {}
    for scenario in scenarios:
        name = scenario["name"]
        for x in scenario["exchanges"]:
            request, response, kind = x.get("request"), x.get("response"), x.get("content_type") or ""
            for body in (protobuf(request), protobuf(response)):
                if body:
                    bodies.setdefault(body, name)
            if isinstance(response, dict) and response.get("kind") and "metadata" in response:
                if x["method"] == "PATCH" and x["status"] == 200 and "apply-patch" not in kind and "uid" in response["metadata"]:
                    before = state.get(response["metadata"]["uid"])
                    touched = json.dumps(request)
                    if before and before["kind"] == response["kind"] and "managedFields" not in touched:
                        patch = {"name": name, "type": kind.split("/")[1].split("+")[0], "before": trim(before), "patch": request, "after": trim(response)}
                        out["patches"].append(patch)
                if x["method"] in ("POST", "PUT") and isinstance(request, dict) and "spec" in request and "base64" not in request:
                    if x["status"] in (200, 201):
                        out["creates"].append({"name": name, "request": trim(request), "response": trim(response)})
                    elif x["status"] in (400, 422):
                        causes = response.get("details", {}).get("causes", [])
                        out["refused"].append({"name": name, "request": trim(request), "code": x["status"], "message": response["message"], "causes": causes})
            for node in (response, x.get("events"), x.get("watch")):
                for found in objects(node):
                    if found.get("kind") and found.get("apiVersion"):
                        # A dry run answers an object that is not there.
                        if "dryRun" not in x["path"]:
                            state[found["metadata"]["uid"]] = found
                        printed[found["metadata"]["uid"], found["metadata"]["resourceVersion"]] = found
    latest = {}
    for (uid, version), found in sorted(printed.items(), key=lambda item: int(item[0][1])):
        latest[uid] = found
    out["objects"] = [trim(found) for _, found in sorted(latest.items(), key=lambda item: (item[1]["kind"], item[1]["metadata"]["name"], item[0]))]
    for body, name in bodies.items():
        raw = base64.b64decode(body).decode("latin-1")
        match = [found for (uid, version), found in printed.items() if uid in raw and f"\x04{version}" in raw and "List" not in raw[:40]]
        out["protobuf"].append({"name": name, "base64": body, "json": match[0] if len(match) == 1 else None})
    # One of a kind is enough for large lists.
    out["protobuf"] = [p for p in out["protobuf"] if len(p["base64"]) < 16_000]
    text = json.dumps(out, sort_keys=True, separators=(",", ":"))
    path = pathlib.Path(__file__).parent.parent / "src/sim/schema/testdata/recorded.json.gz"
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(path, {key: len(value) for key, value in out.items()}, sum(p["json"] is not None for p in out["protobuf"]), len(text), path.stat().st_size)


if __name__ == "__main__":
    main()
