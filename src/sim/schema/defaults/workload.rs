//! Defaults of workloads: deployments, replica sets, stateful sets, daemon sets, jobs.

use serde_json::{Map, Value, json};

use super::{each, has, inner, pod, set, text, within};

pub(super) fn deployment(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "replicas", 1);
        set(spec, "revisionHistoryLimit", 10);
        set(spec, "progressDeadlineSeconds", 600);
        if let Some(strategy) = inner(spec, "strategy") {
            set(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = inner(strategy, "rollingUpdate")
            {
                set(rolling, "maxUnavailable", "25%");
                set(rolling, "maxSurge", "25%");
            }
        }
        within(spec, "template", pod::template);
    });
}

pub(super) fn replica_set(root: &mut Map<String, Value>) {
    labels_from_template(root);
    within(root, "spec", |spec| {
        set(spec, "replicas", 1);
        within(spec, "template", pod::template);
    });
}

pub(super) fn replication_controller(root: &mut Map<String, Value>) {
    labels_from_template(root);
    let labels = template_labels(root);
    within(root, "spec", |spec| {
        set(spec, "replicas", 1);
        if let Some(labels) = labels {
            set(spec, "selector", labels);
        }
        within(spec, "template", pod::template);
    });
}

pub(super) fn stateful_set(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "replicas", 1);
        set(spec, "revisionHistoryLimit", 10);
        set(spec, "podManagementPolicy", "OrderedReady");
        // The field is not optional in Go, so the server always prints it.
        set(spec, "serviceName", "");
        if let Some(strategy) = inner(spec, "updateStrategy") {
            set(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = inner(strategy, "rollingUpdate")
            {
                set(rolling, "partition", 0);
            }
        }
        if let Some(policy) = inner(spec, "persistentVolumeClaimRetentionPolicy") {
            set(policy, "whenDeleted", "Retain");
            set(policy, "whenScaled", "Retain");
        }
        within(spec, "template", pod::template);
        each(spec, "volumeClaimTemplates", |claim| {
            set(claim, "apiVersion", "v1");
            set(claim, "kind", "PersistentVolumeClaim");
            super::persistent_volume_claim(claim);
        });
    });
}

pub(super) fn daemon_set(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "revisionHistoryLimit", 10);
        if let Some(strategy) = inner(spec, "updateStrategy") {
            set(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = inner(strategy, "rollingUpdate")
            {
                set(rolling, "maxUnavailable", 1);
                set(rolling, "maxSurge", 0);
            }
        }
        within(spec, "template", pod::template);
    });
}

pub(super) fn job(root: &mut Map<String, Value>) {
    labels_from_template(root);
    within(root, "spec", |spec| {
        job_spec(spec);
        set(spec, "manualSelector", false);
    });
}

fn job_spec(spec: &mut Map<String, Value>) {
    if !has(spec, "completions") && !has(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let limit = if has(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    set(spec, "backoffLimit", limit);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    let policy = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set(spec, "podReplacementPolicy", policy);
    within(spec, "template", pod::template);
}

pub(super) fn cron_job(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "concurrencyPolicy", "Allow");
        set(spec, "suspend", false);
        set(spec, "successfulJobsHistoryLimit", 3);
        set(spec, "failedJobsHistoryLimit", 1);
        within(spec, "jobTemplate", |job| {
            set(job, "metadata", json!({}));
            // The job's own defaults wait until the job is made; only its pod template has them at once.
            within(job, "spec", |spec| within(spec, "template", pod::template));
        });
    });
}

fn template_labels(root: &Map<String, Value>) -> Option<Value> {
    let labels = root.get("spec")?.get("template")?.get("metadata")?.get("labels")?;
    labels.as_object().filter(|l| !l.is_empty()).map(|l| Value::Object(l.clone()))
}

fn labels_from_template(root: &mut Map<String, Value>) {
    if let Some(labels) = template_labels(root)
        && let Some(metadata) = inner(root, "metadata")
    {
        set(metadata, "labels", labels);
    }
}
