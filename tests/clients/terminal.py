"""kubectl at a terminal: what its user types, and sees."""
import os
import pty
import re
import select
import time

LIMIT = 60


class Terminal:
    """A child at a terminal of its own."""

    def __init__(self, *command):
        self.seen = ""
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)

    def until(self, pattern):
        """Waits for what the child is to show next, and forgets what came before it."""
        end = time.monotonic() + LIMIT
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.file], [], [], max(0, end - time.monotonic()))
            try:
                text = os.read(self.file, 4096) if ready else b""
            except OSError:
                text = b""
            if not text:
                raise SystemExit(f"no {pattern!r} in {self.seen!r}")
            self.seen += text.decode()
        self.seen = self.seen[found.end():]

    def type(self, text):
        os.write(self.file, text.encode())

    def ends(self, code):
        _, status = os.waitpid(self.pid, 0)
        assert os.waitstatus_to_exitcode(status) == code, status


run = Terminal("kubectl", "run", "box", "-it", "--rm", "--image=busybox", "--restart=Never", "--", "sh")
run.until("/ # $")
run.type("echo one; sleep 100000\r")
run.until("\r\none\r\n")
run.type("\x03")
run.until(r"\^C\r\n/ # $")
run.type("ech\x7f\x7f\x7fcat > /tmp/x\r")
run.until("/tmp/x\r\n")
run.type("words\r\x04")
run.until("/ # $")

beside = Terminal("kubectl", "exec", "-it", "box", "--", "sh", "-c", "cat /tmp/x; test -t 1; exit $((7 + $?))")
beside.until("words\r\n")
beside.until("command terminated with exit code 7")
beside.ends(7)

run.type("\x1b[A\x1b[A\x15exit\r")
run.until('pod "box" deleted')
run.ends(0)
print("terminals work")
