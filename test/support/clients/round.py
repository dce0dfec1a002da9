"""A Python program that uses Docker's own library. Prints a line of JSON for each step."""
import io
import json
import sys
import tarfile
import time

import docker

client = docker.DockerClient(base_url=sys.argv[1], timeout=60)
image = sys.argv[2]


def say(step, value):
    print(json.dumps({"step": step, "value": value}), flush=True)


say("ping", client.ping())
say("pull", client.images.pull(image).tags)
say("run", client.containers.run(image, ["echo", "hello"], remove=True).decode())
try:
    client.containers.run(image, ["sh", "-c", "echo bad >&2; exit 5"], remove=True)
except docker.errors.ContainerError as error:
    say("fails", [error.exit_status, error.stderr.decode()])
try:
    client.containers.get("nosuch")
except docker.errors.NotFound as error:
    say("not found", error.explanation)

container = client.containers.run(
    image,
    ["sh", "-c", 'trap "exit 4" TERM; echo up; while :; do sleep 0.1; done'],
    detach=True,
    name="py",
    labels={"made": "by python"},
    environment={"GREETING": "hi"},
)
for line in container.logs(stream=True, follow=True):
    say("followed", line.decode())
    break
container.reload()
say("status", container.status)
code, parts = container.exec_run(["sh", "-c", "echo $GREETING; echo err >&2; exit 3"], demux=True)
say("exec", [code, [part.decode() for part in parts]])

packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w") as archive:
    entry = tarfile.TarInfo("file")
    entry.size = 3
    archive.addfile(entry, io.BytesIO(b"abc"))
say("put", container.put_archive("/tmp", packed.getvalue()))
bits, stat = container.get_archive("/tmp/file")
with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as archive:
    say("get", [stat["name"], archive.extractfile("file").read().decode()])
say("diff", [change["Path"] for change in container.diff()])
say("top", [process[-1] for process in container.top()["Processes"]])
say("stats", container.stats(stream=False)["name"])
container.pause()
container.reload()
say("paused", container.status)
container.unpause()
container.rename("py2")
say("listed", [each.name for each in client.containers.list(filters={"label": "made=by python"})])
container.stop(timeout=5)
say("stopped", container.wait()["StatusCode"])
container.start()
container.restart(timeout=2)
container.kill()
say("killed", container.wait()["StatusCode"])
say("commit", container.commit("py/image", "v1").tags)
client.images.remove("py/image:v1")
now = int(time.time())
container.remove()
say("events", [event["Action"] for event in client.events(since=now - 60, until=int(time.time()) + 1, decode=True)
               if event.get("Type") == "container" and event["Actor"]["ID"] == container.id
               and not event["Action"].startswith("exec_")])
say("left", client.containers.list(all=True))
