"""The Python client's streams: input that is typed, channels that are closed, ports that are forwarded."""
import time

from kubernetes import client, config
from kubernetes.stream import portforward, stream

config.load_kube_config()
pods = client.CoreV1Api()
NS = "default"


def started(name, **container):
    pods.create_namespaced_pod(NS, {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", **container}]}})
    for _ in range(200):
        if all(s.ready for s in pods.read_namespaced_pod(name, NS).status.container_statuses or [None] if s) and pods.read_namespaced_pod(
            name, NS
        ).status.phase == "Running":
            return
        time.sleep(0.1)
    raise SystemExit(f"{name} does not start")


started("typed", image="busybox", command=["sleep", "100000"])
for text in (str, str.encode):
    shell = stream(
        pods.connect_post_namespaced_pod_exec, "typed", NS, command=["sh"], stdin=True, stdout=True, stderr=True, tty=False,
        binary=text is str.encode, _preload_content=False,
    )
    shell.write_stdin(text("echo out\n"))
    assert shell.readline_stdout(timeout=5) == text("out")
    shell.write_stdin(text("echo err >&2\n"))
    assert shell.readline_stderr(timeout=5) == text("err")
    shell.write_stdin(text("exit 5\n"))
    shell.run_forever(timeout=10)
    assert shell.returncode == 5, shell.returncode

cat = stream(pods.connect_get_namespaced_pod_exec, "typed", NS, command=["cat"], stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
cat.write_stdin("line\n")
assert cat.readline_stdout(timeout=5) == "line"
cat.close_channel(0)
cat.run_forever(timeout=10)
assert cat.returncode == 0

started("echo", image="python", command=["python", "/srv/echo.py", "7001", "7002"])
forward = portforward(pods.connect_get_namespaced_pod_portforward, "echo", NS, ports="7001,7002,7003")
sockets = [forward.socket(p) for p in (7001, 7002)]
for number, s in enumerate(sockets):
    s.settimeout(10)
    s.sendall(b"bytes for %d" % number)
    assert s.recv(1024) == b"bytes for %d" % number
refused = forward.socket(7003)
refused.settimeout(10)
assert refused.recv(1024) == b"" and "connection refused" in forward.error(7003)
for s in sockets:
    s.close()
assert forward.error(7001) is None

def messages(path, protocols):
    """What the server sends over a WebSocket until it closes it, and the protocol that it chose."""
    import ssl

    import websocket

    config = client.Configuration.get_default_copy()
    verify = {"ca_certs": config.ssl_ca_cert} if config.ssl_ca_cert else {"cert_reqs": ssl.CERT_NONE}
    token = config.api_key.get("authorization")
    url = config.host.replace("http", "ws", 1) + path
    ws = websocket.create_connection(url, subprotocols=protocols, sslopt=verify, header=[f"Authorization: {token}"], timeout=10)
    out = []
    while True:
        kind, data = ws.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            return out, ws.getsubprotocol()
        out.append((kind, data))


exec_path = f"/api/v1/namespaces/{NS}/pods/typed/exec?stdout=1&stderr=1&command=sh&command=-c&command="
said, chosen = messages(exec_path + "echo+out", ["channel.k8s.io"])
assert chosen == "channel.k8s.io" and b"".join(d for _, d in said) == b"\x01out\n", said
said, _ = messages(exec_path + "exit+3", ["channel.k8s.io"])
assert said[-1][1].startswith(b"\x03command terminated") and b"exit code 3" in said[-1][1], said
pods.create_namespaced_pod(NS, {"metadata": {"name": "logged"}, "spec": {"restartPolicy": "Never", "containers": [
    {"name": "c", "image": "busybox", "command": ["echo", "logged"]}]}})
while pods.read_namespaced_pod("logged", NS).status.phase != "Succeeded":
    time.sleep(0.1)
log = f"/api/v1/namespaces/{NS}/pods/logged/log"
assert messages(log, ["binary.k8s.io"])[0] == [(2, b"logged\n")]
assert messages(log, ["base64.binary.k8s.io"])[0] == [(1, b"bG9nZ2VkCg==")]
print("all channels work")
