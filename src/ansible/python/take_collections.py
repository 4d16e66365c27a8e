# Takes the collections we use out of the `ansible` wheel: take_collections.py WHEEL_FOLDER DESTINATION
import pathlib
import sys
import zipfile

PREFIXES = ("ansible_collections/kubernetes/core/", "ansible_collections/ansible/posix/")
NEEDLESS = ("/tests/", "/docs/", "/changelogs/")

folder, destination = sys.argv[1:]
wheels = sorted(pathlib.Path(folder).glob("ansible-*.whl"))
if len(wheels) != 1:
    sys.exit("expected one ansible wheel in %s, found %d" % (folder, len(wheels)))
with zipfile.ZipFile(wheels[0]) as wheel:
    names = [n for n in wheel.namelist() if n.startswith(PREFIXES) and not any(p in n for p in NEEDLESS)]
    for prefix in PREFIXES:
        if not any(n.startswith(prefix) for n in names):
            sys.exit("the wheel has no %s" % prefix)
    wheel.extractall(destination, names)
wheels[0].unlink()
