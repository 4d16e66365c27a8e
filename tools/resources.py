#!/usr/bin/env python3
"""Builds src/sim/data/resources.json and columns.json from recorded answers of a real API server.

Usage: tools/resources.py RECORDED_DIR
RECORDED_DIR holds one JSON file a scenario with its HTTP exchanges; `discovery.json` has the aggregated discovery
documents, the others the Table answers. Kinds that the recording lacks (the metrics API, further Chaos Mesh kinds,
tables nobody asked for) are added here by hand, in the format of the real ones.
"""
import glob
import json
import os
import sys

ALL = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
CHAOS = {
    "AWSChaos": "awschaos", "AzureChaos": "azurechaos", "BlockChaos": "blockchaos", "DNSChaos": "dnschaos", "GCPChaos": "gcpchaos",
    "HTTPChaos": "httpchaos", "IOChaos": "iochaos", "JVMChaos": "jvmchaos", "KernelChaos": "kernelchaos", "NetworkChaos": "networkchaos",
    "PhysicalMachineChaos": "physicalmachinechaos", "PodChaos": "podchaos", "StressChaos": "stresschaos", "TimeChaos": "timechaos",
}
NAME = ["Name", "string", "name", 0, ""]
AGE = ["Age", "string", "", 0, ""]


def text(*names, wide=()):
    return [NAME] + [[n, "string", "", 0, ""] for n in names] + [AGE] + [[n, "string", "", 1, ""] for n in wide]


MORE_COLUMNS = {
    "/persistentvolumes": text("Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass", "VolumeAttributesClass", "Reason", wide=("VolumeMode",)),
    "/persistentvolumeclaims": text("Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", wide=("VolumeMode",)),
    "storage.k8s.io/storageclasses": text("Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion"),
    "discovery.k8s.io/endpointslices": text("AddressType", "Ports", "Endpoints"),
    "networking.k8s.io/ingressclasses": text("Controller", "Parameters"),
    "rbac.authorization.k8s.io/clusterroles": [NAME, ["Created At", "date", "", 0, ""]],
    "rbac.authorization.k8s.io/clusterrolebindings": text("Role", wide=("Users", "Groups", "ServiceAccounts")),
    "apps/controllerrevisions": [NAME, ["Controller", "string", "", 0, ""], ["Revision", "string", "", 0, ""], AGE],
    "coordination.k8s.io/leases": text("Holder"),
    "scheduling.k8s.io/priorityclasses": [NAME, ["Value", "integer", "", 0, ""], ["Global-Default", "boolean", "", 0, ""], AGE,
                                          ["PreemptionPolicy", "string", "", 0, ""]],
}
CHAOS_COLUMNS = {"networkchaos": ["action", "duration"], "podchaos": [], "iochaos": [], "stresschaos": ["duration"], "timechaos": ["duration"],
                 "dnschaos": ["action", "duration"], "httpchaos": ["duration"], "kernelchaos": ["duration"], "jvmchaos": ["action", "duration"],
                 "awschaos": ["action", "duration"], "gcpchaos": ["action", "duration"], "azurechaos": ["action", "duration"],
                 "blockchaos": ["action", "duration"], "physicalmachinechaos": ["action", "duration"]}


def custom(kind, plural, group, version, verbs):
    return {"resource": plural, "responseKind": {"group": group, "version": version, "kind": kind}, "scope": "Namespaced",
            "singularResource": plural, "verbs": verbs}


def resources(recorded):
    groups = []
    for exchange in json.load(open(os.path.join(recorded, "discovery.json")))["exchanges"]:
        for item in exchange["response"]["items"]:
            name = item["metadata"].get("name", "")
            if name == "chaos-mesh.org":
                have = [custom(k, p, name, "v1alpha1", ALL) for k, p in sorted(CHAOS.items(), key=lambda kp: kp[1])]
                item["versions"] = [{"version": "v1alpha1", "resources": have}]
            groups.append({"group": name, "versions": [{"version": v["version"], "resources": v["resources"]} for v in item["versions"]]})
    node = dict(custom("NodeMetrics", "nodes", "", "", ["get", "list"]), scope="Cluster", singularResource="")
    pod = dict(custom("PodMetrics", "pods", "", "", ["get", "list"]), singularResource="")
    groups.append({"group": "metrics.k8s.io", "versions": [{"version": "v1beta1", "resources": [node, pod]}]})
    return groups


def columns(recorded):
    out = dict(MORE_COLUMNS)
    for plural, names in CHAOS_COLUMNS.items():
        out["chaos-mesh.org/" + plural] = [NAME] + [[n, "string", "", 0, ""] for n in names] + ([] if names else [["Age", "date", "", 0, ""]])
    for path in sorted(glob.glob(os.path.join(recorded, "*.json"))):
        for e in json.load(open(path))["exchanges"]:
            tables = [e.get("response")] + [w.get("object") for w in e.get("watch") or []]
            for t in tables:
                if not isinstance(t, dict) or t.get("kind") != "Table" or not t.get("columnDefinitions"):
                    continue
                parts = [p for p in e["path"].split("?")[0].split("/") if p]
                core = parts[0] == "api"
                rest = parts[2:] if core else parts[3:]
                plural = rest[2] if rest[0] == "namespaces" and len(rest) > 2 else rest[0]
                key = ("" if core else parts[1]) + "/" + plural
                out[key] = [[c["name"], c["type"], c["format"], c["priority"], c["description"]] for c in t["columnDefinitions"]]
    return {k: out[k] for k in sorted(out)}


def write(name, value):
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "src", "sim", "data", name)
    with open(here, "w") as f:
        f.write(json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace('},{"resource"', '},\n{"resource"').replace("]],", "]],\n") + "\n")


write("resources.json", resources(sys.argv[1]))
write("columns.json", columns(sys.argv[1]))
