# Lets sleeps take the cluster's time: long waits are asked of the embedded cluster, which answers when so much
# simulated time has passed, and this process's clocks are moved on by what was skipped, so that loops which measure
# their own time-outs agree. Loaded by microremed_clock.pth, only where SIM_CLOCK is set. Kept quick: every Python
# process of a playbook loads it.
import os
import time

SHORTEST = 0.05  # seconds; shorter waits are polling between processes, not waiting for the cluster
LONGEST = 30.0  # asked at once, so that the runner's own deadline is noticed between two jumps

_sleep = time.sleep
_monotonic = time.monotonic
_offset = 0.0
_read = None  # the shifted monotonic time when a clock was last read


def _ask(milliseconds):
    """Blocks for so much simulated time; False when the cluster does not answer properly."""
    import _socket  # the C module alone: `socket` costs milliseconds

    rest = os.environ.get("SIM_CLOCK", "").partition("://")[2]
    address, _, path = rest.partition("/")
    host, _, port = address.rpartition(":")
    request = "GET /%s/sleep?ms=%d HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path.strip("/"), milliseconds, address)
    try:
        s = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            s.connect((host, int(port)))
            s.send(request.encode("ascii"))
            status = s.recv(64)
            while s.recv(4096):
                pass
        finally:
            s.close()
    except (OSError, ValueError):
        return False
    return status[9:10] == b"2"


def sleep(seconds, /):
    global _offset
    if not isinstance(seconds, (int, float)) or not seconds >= SHORTEST:
        return _sleep(seconds)
    left = float(seconds)
    # Counted from the last reading of a clock, not from now: what was computed since then is paid out of the sleep, so
    # that a loop of checks and sleeps sees the cluster's time however slow the machine is, while no reading after the
    # sleep is less than one before it plus the sleep. Threads that sleep side by side share the time.
    end = _monotonic() + _offset if _read is None else _read
    while left > 0:
        part = min(left, LONGEST)
        if not _ask(max(1, round(part * 1000))):
            return _sleep(left)
        end += part
        # Also back towards real time, when the answer took longer than the sleep; never behind another thread's reading.
        _offset = max(end, end if _read is None else _read) - _monotonic()
        left -= part


def _note():
    # After the reading: a sleep counted from here ends no earlier than it should, however long the reading took.
    global _read
    _read = _monotonic() + _offset


def _shift(name):
    real = getattr(time, name)
    if name.endswith("_ns"):

        def shifted():
            reading = real() + int(_offset * 1e9)
            _note()
            return reading
    else:

        def shifted():
            reading = real() + _offset
            _note()
            return reading

    shifted.__name__ = shifted.__qualname__ = name
    shifted.__module__ = "time"
    setattr(time, name, shifted)


def _shift_datetime():
    # The methods of the one C class are replaced, not the class: isinstance, pickling, strptime and C extensions see
    # the same type as ever. `date.today` and `datetime.today` ask time.time by themselves.
    import _datetime
    import gc

    methods = gc.get_referents(_datetime.datetime.__dict__)[0]
    real_now, real_utcnow, delta = methods["now"], methods["utcnow"], _datetime.timedelta

    def now(cls, tz=None):
        moment = real_now.__get__(None, cls)(_datetime.timezone.utc)
        plain = None if _offset else real_now.__get__(None, cls)(tz)
        _note()
        if plain is not None:
            return plain
        moment += delta(seconds=_offset)
        return moment.astimezone(tz) if tz is not None else moment.astimezone().replace(tzinfo=None)

    def utcnow(cls):
        reading = real_utcnow.__get__(None, cls)() + delta(seconds=_offset)
        _note()
        return reading

    methods["now"], methods["utcnow"] = classmethod(now), classmethod(utcnow)


for _name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"):
    _shift(_name)
try:
    _shift_datetime()
except Exception:  # an interpreter built otherwise: then only datetime keeps real time
    pass
time.sleep = sleep
