# Warm interpreters: two processes that have everything imported and do nothing but fork. One is what a module of a
# playbook finds (`Modules`), the other what `ansible-playbook` is (`Controller`). Nothing that a model wrote ever runs in
# these two: a fork first puts on the sandbox, whose parts the launcher sends it, and then becomes the program.
#
# Standard input is a socket of packets. A request is one packet with the ends of two channels, on which the launcher will
# send each fork what it is to be; the answer names the two forks. End of input ends the server.
#
# Argument: the folder of collections.
import atexit
import base64
import ctypes
import errno
import gc
import importlib
import json
import os
import pkgutil
import re
import resource
import select
import shlex
import signal
import socket
import sys
import threading
import traceback
import types

COLLECTIONS = sys.argv[1]
PACKET = 1 << 18
CHANNELS = 2  # of a request: the controller's and the modules'
DESCRIPTORS = 9  # at most, in one packet
# In the order in which they are entered.
SPACES = {"user": 0x10000000, "mnt": 0x00020000, "ipc": 0x08000000, "net": 0x40000000, "pid": 0x20000000}
PDEATHSIG, SECCOMP, BOUNDING, NO_NEW_PRIVS, AMBIENT = 1, 22, 24, 38, 47
LAST_CAPABILITY = 63

libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(Exception):
    pass


def send(sock, message, descriptors=()):
    data = json.dumps(message).encode()
    if descriptors:
        socket.send_fds(sock, [data], list(descriptors))
    else:
        sock.send(data)


def receive(sock, most=DESCRIPTORS):
    data, descriptors, flags, _ = socket.recv_fds(sock, PACKET, most)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise SandboxError("a packet was cut off")
    return data, descriptors


def checked(what, answer):
    if answer < 0:
        number = ctypes.get_errno()
        raise SandboxError("%s: %s" % (what, os.strerror(number)))


# ---------------------------------------------------------------------------------------------------- the sandbox


def join(files):
    """Enters the namespaces that the launcher made."""
    for name, kind in SPACES.items():
        if name in files:
            checked("failed to enter the %s namespace" % name, libc.setns(files[name], kind))


def confine(message, files):
    """What the launcher does before it starts a program: limits, rights, files, system calls. Each must hold."""
    checked("failed to set a signal", libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    for kind, value in message["limits"]:
        _, most = resource.getrlimit(kind)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))
    checked("failed to forbid new rights", libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0))
    libc.prctl(AMBIENT, 4, 0, 0, 0)
    for number in range(LAST_CAPABILITY + 1):
        # Who may not do this has none to lose; numbers that the kernel does not know are refused, too.
        libc.prctl(BOUNDING, number, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    checked("failed to give up rights", libc.syscall(message["calls"]["capset"], header, (ctypes.c_uint32 * 6)()))
    if "rules" in files:
        answer = libc.syscall(message["calls"]["landlock"], files["rules"], 0)
        checked("failed to confine files and ports", answer)
    for program in message["programs"]:
        program = base64.b64decode(program)
        filters = ctypes.create_string_buffer(program, len(program))

        class Program(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.c_void_p)]

        whole = Program(len(filters) // 8, ctypes.cast(filters, ctypes.c_void_p))
        checked("failed to confine system calls", libc.prctl(SECCOMP, 2, ctypes.byref(whole), 0, 0))


def become(message, files):
    """Environment, folder and streams as a new program would have them."""
    os.environ.clear()
    os.environ.update(message["environment"])
    os.chdir(message["folder"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(files["stdout"], 1)
    os.dup2(files["stderr"], 2)
    link = files.get("link")
    kept = {0, 1, 2}
    if link is not None:
        os.set_inheritable(link, False)
        kept.add(link)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass
    return link


def as_new():
    """Signals and clocks as a new program would have them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    clock = sys.modules.get("microremed_clock")
    if clock is not None:
        clock._read, clock._offset = None, 0.0


def end(code):
    """Ends a fork as an interpreter ends, without taking apart what it only shares."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        os._exit(code)


def run(program):
    """Runs to its end, whatever that is, and ends this process with its exit code."""
    code = 0
    try:
        program()
    except SystemExit as stop:
        if stop.code is None:
            code = 0
        elif isinstance(stop.code, int):
            code = int(stop.code) & 0xFF
        else:
            print(stop.code, file=sys.stderr)
            code = 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    end(code)


def fork_into(channel, group, role):
    """Forks: the first fork stays outside and tells how the second one ended, which is confined. Returns the first's id."""
    first = os.fork()
    if first:
        return first
    try:
        libc.prctl(PDEATHSIG, 0, 0, 0, 0)
        as_new()
        # The launcher's group: what it is sent, we are sent.
        os.setpgid(0, group)
        data, descriptors = receive(channel)
        if not data:
            os._exit(1)
        message = json.loads(data)
        files = dict(zip(message["files"], descriptors))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
        join(files)
        told, tell = os.pipe()
        second = os.fork()
        if second == 0:
            confined(message, files, tell, role)
        os.close(tell)
        for descriptor in descriptors:
            os.close(descriptor)
        trouble = os.read(told, 4096)
        _, status = os.waitpid(second, 0)
        if trouble:
            channel.send(b"e" + trouble)
        elif os.WIFSIGNALED(status):
            channel.send(b"s" + os.WTERMSIG(status).to_bytes(4, "little"))
        else:
            channel.send(b"x" + os.WEXITSTATUS(status).to_bytes(4, "little"))
    except BaseException as problem:
        try:
            channel.send(b"e" + said(problem))
        except OSError:
            # The launcher is gone: so are we.
            pass
    os._exit(1)


def confined(message, files, tell, role):
    """The second fork: never returns."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        confine(message, files)
        link = become(message, files)
    except BaseException as problem:
        os.write(tell, said(problem))
        os._exit(1)
    # What goes wrong from here on is the program's.
    try:
        role(message, link)
    except BaseException:
        traceback.print_exc()
    end(1)


def said(problem):
    return (str(problem) or repr(problem)).encode(errors="replace")[:4000]


# ---------------------------------------------------------------------------------------------------- modules


class Modules:
    """What the modules of playbooks import, as they find it in their own packages."""

    NEEDED = (
        "argparse ast base64 binascii bisect collections.abc concurrent.futures configparser contextlib copy csv ctypes "
        "dataclasses datetime decimal difflib enum errno fcntl fnmatch functools getpass glob grp gzip hashlib heapq hmac "
        "html http.client http.cookiejar importlib.metadata inspect io ipaddress itertools json locale logging logging.handlers "
        "mimetypes multiprocessing operator os pathlib pickle platform pty pwd queue random re runpy select selectors shlex "
        "shutil signal socket sqlite3 ssl stat string struct subprocess syslog tarfile tempfile termios textwrap threading "
        "time traceback types typing unicodedata urllib.parse urllib.request uuid warnings weakref xml.etree.ElementTree zipfile zlib"
    ).split()
    PACKAGES = (
        "yaml dateutil.parser urllib3 requests kubernetes kubernetes.client.rest kubernetes.config kubernetes.dynamic "
        "kubernetes.dynamic.exceptions kubernetes.dynamic.resource kubernetes.stream kubernetes.stream.ws_client jsonpatch"
    ).split()

    def __init__(self):
        for name in self.NEEDED + self.PACKAGES:
            self.bring(name)
        spec = importlib.util.find_spec("ansible")
        root = list(spec.submodule_search_locations)
        # The package that modules bring with them is empty, unlike the one that is installed.
        for name, path in (("ansible", root), ("ansible_collections", [os.path.join(COLLECTIONS, "ansible_collections")])):
            package = types.ModuleType(name)
            package.__path__, package.__file__ = path, os.path.join(path[0], "__init__.py")
            sys.modules[name] = package
        for name in ("ansible.module_utils", "ansible_collections.kubernetes.core.plugins.module_utils"):
            self.bring(name)
            package = sys.modules.get(name)
            paths = list(getattr(package, "__path__", ()))
            for found in pkgutil.walk_packages(paths, name + ".", onerror=lambda _: None):
                # Bundled packages stand in for others on old machines; what is for Windows is no Python, and one part is for
                # the controller and brings all of it.
                if not re.search(r"\.(powershell|csharp|testing|distro\._distro|compat\.selinux|core\.plugins\.module_utils\.copy)\b", found.name):
                    self.bring(found.name)

        Machine.hurry()

    @staticmethod
    def bring(name):
        try:
            importlib.import_module(name)
        except BaseException:
            # What cannot be imported here cannot be imported by a module either, and it says so better.
            sys.modules.pop(name, None)

    @staticmethod
    def serve(message, link):
        """Inside a sandbox: forks once more for each module that a playbook runs."""
        sock = socket.socket(fileno=link)
        running = {}
        poll = select.poll()
        poll.register(link, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor != link:
                    reply, child = running.pop(descriptor)
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    _, status = os.waitpid(child, 0)
                    try:
                        reply.send(str(os.waitstatus_to_exitcode(status)).encode())
                    except OSError:
                        pass
                    reply.close()
                    continue
                try:
                    data, files = receive(sock, 5)
                except (OSError, SandboxError):
                    os._exit(0)
                if not data:
                    os._exit(0)
                child = os.fork()
                if child == 0:
                    Modules.run(json.loads(data), files)
                ended = os.pidfd_open(child)
                running[ended] = (socket.socket(fileno=files[3]), child)
                poll.register(ended, select.POLLIN)
                for file in files[:3] + files[4:]:
                    os.close(file)

    @staticmethod
    def run(message, files):
        as_new()
        os.environ.clear()
        os.environ.update(message["environment"])
        Machine.lay(os.environ.get("MICROREMED_MACHINE"), os.environ.get("MICROREMED_MACHINE_FOUND"))
        os.chdir(message["folder"])
        os.umask(message["umask"])
        with open(files[4], "rb") as packed:
            packed.seek(0)
            source = packed.read()
        for to, descriptor in enumerate(files[:3]):
            os.dup2(descriptor, to)
        os.closerange(3, 256)
        sys.argv = [""]
        main = types.ModuleType("__main__")
        main.__builtins__ = __builtins__
        sys.modules["__main__"] = main
        run(lambda: exec(compile(source, "<stdin>", "exec"), main.__dict__))


class Machine:
    """Facts of the machine that stay the same for as long as a run lasts, and take long to find out."""

    FACTS = "ansible.module_utils.facts."
    PARTS = (
        ("hardware.linux", "LinuxHardware", "get_cpu_facts get_dmi_facts get_sysinfo_facts get_device_facts get_lvm_facts"),
        ("system.lsb", "LSBFactCollector", "collect"),
        ("system.distribution", "DistributionFactCollector", "collect"),
    )
    known = None

    @classmethod
    def hurry(cls):
        """Facts of mounts look every 100 ms whether their threads are done, which they are within one."""
        linux = sys.modules.get(cls.FACTS + "hardware.linux")
        if isinstance(getattr(linux, "time", None), types.ModuleType):
            clock = types.SimpleNamespace(**{n: getattr(linux.time, n) for n in dir(linux.time) if not n.startswith("__")})
            sleep = linux.time.sleep
            clock.sleep = lambda seconds: sleep(min(seconds, 0.005))
            linux.time = clock

    @classmethod
    def lay(cls, known, found):
        """Answers from the file, or puts what was found down in the folder. Nothing happens until facts are gathered."""
        if not known and not found:
            return
        for module, name, methods in cls.PARTS:
            owner = getattr(sys.modules.get(cls.FACTS + module), name, None)
            for method in methods.split():
                plain = getattr(owner, method, None)
                if plain is not None:
                    setattr(owner, method, cls.instead(plain, name + "." + method, known, found))

    @classmethod
    def instead(cls, plain, name, known, found):
        def method(self, *args, **named):
            if known and cls.known is None:
                try:
                    with open(known, encoding="utf-8") as file:
                        cls.known = json.load(file)
                except (OSError, ValueError):
                    cls.known = {}
            if known and name in cls.known:
                return cls.known[name]
            value = plain(self, *args, **named)
            if found:
                with open(os.path.join(found, name), "w", encoding="utf-8") as file:
                    json.dump(value, file)
            return value

        return method


# ---------------------------------------------------------------------------------------------------- ansible-playbook


class Controller:
    """What `ansible-playbook` imports and loads before it looks at a playbook."""

    PLUGINS = {
        "action": "normal command shell copy debug set_fact gather_facts uri template fail assert pause include_vars file "
        "wait_for_connection kubernetes.core.k8s kubernetes.core.k8s_info",
        "connection": "local",
        "shell": "sh",
        "strategy": "linear",
        "callback": "default microremed_events",
        "inventory": "host_list script auto yaml ini toml",
        "cache": "memory",
        "become": "sudo su",
        "lookup": "file env pipe template items fileglob",
    }

    def __init__(self):
        import ansible.cli.playbook as cli
        from ansible import constants
        from ansible.plugins import loader

        self.cli, self.constants, self.loader = cli, constants, loader
        loader.init_plugin_loader([])
        for kind, names in self.PLUGINS.items():
            for name in names.split():
                try:
                    getattr(loader, kind + "_loader").get(name, class_only=True)
                except Exception:
                    # Loaded when it is needed, as ever.
                    pass
        for kind in ("filter", "test"):
            try:
                list(getattr(loader, kind + "_loader").all())
            except Exception:
                pass
        for kind in ("shell", "become", "connection", "callback", "vars"):
            try:
                list(getattr(loader, kind + "_loader").all(class_only=True))
            except Exception:
                pass
        for name in ("executor.process.worker", "executor.task_queue_manager", "executor.module_common", "executor.powershell"):
            Modules.bring("ansible." + name)
        Modules.bring("ansible.plugins.vars.host_group_vars")
        cli.PlaybookCLI(["ansible-playbook", "none"]).init_parser()
        self.defaults = self.compiled()

    def compiled(self):
        """Defaults of settings that are templates, which take long to read."""
        from jinja2.nativetypes import NativeEnvironment

        definitions = self.constants.config.get_configuration_definitions().values()
        texts = {d["default"] for d in definitions if isinstance(d.get("default"), str)}
        return {t: NativeEnvironment().from_string(t) for t in texts if t.startswith("{{") and t.endswith("}}")}

    def configure(self):
        """Takes the settings of this trial; everything else was read before."""
        config = self.constants.config
        config._config_file = os.environ["ANSIBLE_CONFIG"]
        config._parsers.clear()
        for cached in (getattr(config, name, None) for name in ("_get_ini_config_value", "get_ini_config_value")):
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()
        config._parse_config_file(config._config_file)
        values = vars(self.constants)
        before = dict(values)
        plain = config.template_default

        def template_default(value, variables, *args, **named):
            template = self.defaults.get(value) if isinstance(value, str) and variables is not None else None
            try:
                return template.render(variables) if template is not None else plain(value, variables, *args, **named)
            except Exception:
                # It says what is wrong with it.
                return plain(value, variables, *args, **named)

        config.template_default = template_default
        try:
            for setting in config.get_configuration_definitions():
                values[setting] = config.get_config_value(setting, variables=values)
        finally:
            del config.template_default
        self.move(before["ANSIBLE_HOME"], values["ANSIBLE_HOME"])

    def move(self, old, new):
        """Loaders keep the folders that they were made for."""
        for loader in vars(self.loader).values():
            if isinstance(loader, self.loader.PluginLoader) and isinstance(loader.config, list):
                loader.config = [new + p[len(old):] if isinstance(p, str) and p.startswith(old) else p for p in loader.config]

    def play(self, message, link):
        """Inside a sandbox: what the script of that name does."""
        sys.argv = [os.fspath(a) for a in message["argv"]]
        self.configure()
        # Done already, with the same folders.
        self.cli.init_plugin_loader = sys.modules["ansible.cli"].init_plugin_loader = lambda *_: None
        if link is not None:
            Link(link).lay()
        run(lambda: sys.exit(self.cli.main()))


class Link:
    """To the fork of the modules' interpreter in the same sandbox."""

    def __init__(self, descriptor):
        self.socket = socket.socket(fileno=descriptor)

    def lay(self):
        """Modules that the private Python would run on this machine are run by forks of the warm one."""
        from ansible.plugins.connection import local

        plain, wanted = local.Connection.exec_command, sys.executable

        def exec_command(connection, cmd, in_data=None, sudoable=True):
            if in_data and isinstance(cmd, str) and not connection._play_context.become:
                words = shlex.split(cmd)
                if len(words) == 3 and words[0].endswith("sh") and words[1] == "-c" and words[2].strip() == wanted + " && sleep 0":
                    result = self.ask(in_data, os.fsdecode(connection.cwd or os.getcwd()))
                    if result is not None:
                        return result
            return plain(connection, cmd, in_data=in_data, sudoable=sudoable)

        local.Connection.exec_command = exec_command

    def ask(self, source, folder):
        """Exit code and output; none if there is nobody to ask."""
        out, err = os.pipe(), os.pipe()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open(os.devnull, os.O_RDONLY)
        # Packed modules are longer than any packet may be.
        packed = os.memfd_create("module")
        umask = os.umask(0)
        os.umask(umask)
        try:
            with open(packed, "wb", closefd=False) as file:
                file.write(source if isinstance(source, bytes) else source.encode())
            message = {"environment": dict(os.environ), "folder": folder, "umask": umask}
            try:
                send(self.socket, message, [null, out[1], err[1], theirs.fileno(), packed])
            except OSError as problem:
                # Too long for a packet, or the other side has ended: then as ever.
                if problem.errno not in (errno.EMSGSIZE, errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS):
                    raise
                return None
            finally:
                os.close(out[1])
                os.close(err[1])
                theirs.close()
            streams = {out[0]: bytearray(), err[0]: bytearray()}
            poll = select.poll()
            for stream in streams:
                poll.register(stream, select.POLLIN)
            left = set(streams)
            while left:
                for stream, _ in poll.poll():
                    data = os.read(stream, 1 << 16)
                    if data:
                        streams[stream] += data
                    else:
                        poll.unregister(stream)
                        left.discard(stream)
            code = mine.recv(32)
            # Ended with all that it is part of: as if killed.
            code = int(code) if code else -signal.SIGKILL
            return code, bytes(streams[out[0]]), bytes(streams[err[0]])
        finally:
            os.close(null)
            os.close(packed)
            os.close(out[0])
            os.close(err[0])
            mine.close()


# ---------------------------------------------------------------------------------------------------- the server


def settle():
    """What there is now is left alone by forks, which would only copy it."""
    gc.freeze()
    gc.enable()


def controller_server(sock):
    controller = Controller()
    settle()
    send(sock, {"ready": True})
    while True:
        data, descriptors = receive(sock, 1)
        if not data:
            os._exit(0)
        channel = socket.socket(fileno=descriptors[0])
        send(sock, {"pid": fork_into(channel, json.loads(data)["group"], controller.play)})
        channel.close()


def main():
    if os.environ.get("SIM_CLOCK"):
        importlib.import_module("microremed_clock")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Forks are nobody's business once they have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # The folder of this file is nobody's business.
    sys.path.pop(0)
    # What is imported stays: nothing of it is worth looking for.
    gc.disable()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        requests.close()
        ours.close()
        controller_server(theirs)
    theirs.close()
    Modules()
    settle()
    if not json.loads(receive(ours)[0] or b"{}").get("ready"):
        sys.exit("failed to import Ansible")
    send(requests, {"ready": True})
    while True:
        data, descriptors = receive(requests, CHANNELS)
        if not data:
            break
        request = json.loads(data)
        send(ours, request, descriptors[:1])
        os.close(descriptors[0])
        channel = socket.socket(fileno=descriptors[1])
        modules = fork_into(channel, request["group"], Modules.serve)
        channel.close()
        answer = json.loads(receive(ours)[0] or b"{}")
        send(requests, {"pids": [answer.get("pid"), modules]})


if __name__ == "__main__":
    main()
