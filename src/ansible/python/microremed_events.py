# Writes what each task of a playbook did as JSON lines to the file named by MICROREMED_EVENTS.
# Each line is written with one write(2), so a killed run leaves at most one torn line at the end.
# Also lends a playbook the modules that were packed when the tools were installed (take_modules.yml).
from __future__ import annotations

import json
import os
import shutil

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: microremed_events
type: notification
short_description: per-task results as JSON lines
description: [per-task results as JSON lines in the file named by MICROREMED_EVENTS]
requirements: [enabled in the configuration]
"""

MESSAGE_MAX = 2000
PACKED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "modules")


def _cache():
    """Where this run of Ansible keeps modules that it has packed."""
    return os.path.join(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")


def _lend():
    try:
        os.makedirs(_cache(), exist_ok=True)
        for name in os.listdir(PACKED):
            os.symlink(os.path.join(PACKED, name), os.path.join(_cache(), name))
    except OSError:
        # Then they are packed anew.
        pass


def _message(result):
    if not isinstance(result, dict):
        return str(result)
    parts = []
    for key in ("msg", "module_stderr", "module_stdout", "stdout", "stderr", "exception"):
        value = result.get(key)
        if value not in (None, "", [], {}) and value not in parts:
            parts.append(value if isinstance(value, str) else json.dumps(value, default=str))
        if key == "stderr" and parts:
            break
    if not parts:
        for item in result.get("results") or []:
            if isinstance(item, dict) and (item.get("failed") or item.get("msg") or item.get("stdout")):
                parts.append(_message(item))
    return "\n".join(parts)[:MESSAGE_MAX]


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "microremed_events"
    CALLBACK_NEEDS_ENABLED = True
    CALLBACK_NEEDS_WHITELIST = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        path = os.environ.get("MICROREMED_EVENTS")
        self._events = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600) if path else None
        self.disabled = self._events is None

    def _write(self, event):
        os.write(self._events, (json.dumps(event, default=str) + "\n").encode("utf-8", "replace"))

    def _task(self, outcome, status):
        # ansible-core 2.19 gave these names without the underscore and deprecates the old ones.
        def field(name):
            return getattr(outcome, name) if hasattr(type(outcome), name) else getattr(outcome, "_" + name)

        task, host, result = field("task"), field("host"), field("result")
        self._write({
            "task": {
                "task": str(task.get_name()).strip(),
                "host": str(host.get_name()),
                "action": str(task.action),
                "status": status,
                "message": _message(result),
            }
        })

    def v2_playbook_on_start(self, playbook):
        self._write({"playbook": {}})
        if os.path.isdir(PACKED):
            _lend()

    def v2_playbook_on_play_start(self, play):
        self._write({"play": {}})

    def v2_runner_on_ok(self, result):
        changed = result.is_changed() if callable(getattr(result, "is_changed", None)) else False
        self._task(result, "changed" if changed else "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._task(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result):
        self._task(result, "skipped")

    def v2_runner_on_unreachable(self, result):
        self._task(result, "unreachable")

    def v2_playbook_on_stats(self, stats):
        counts = {}
        for host in sorted(stats.processed):
            s = stats.summarize(host)
            counts[host] = {
                "ok": s.get("ok", 0),
                "changed": s.get("changed", 0),
                "failures": s.get("failures", 0),
                "ignored": s.get("ignored", 0),
                "skipped": s.get("skipped", 0),
                "unreachable": s.get("unreachable", 0),
            }
        self._write({"stats": counts})
        if os.environ.get("MICROREMED_KEEP"):
            shutil.copytree(_cache(), os.environ["MICROREMED_KEEP"], ignore=shutil.ignore_patterns("*.lock"))
