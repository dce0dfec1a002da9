"""What docker-py's own tests of images and volumes do. Prints a line of JSON for each step."""
import io
import json
import sys
import tarfile
import tempfile

import docker
from docker.types import Mount

# Newer versions of the API have dropped what this library reads: `error` of messages, the lists of `system df`.
client = docker.DockerClient(base_url=sys.argv[1], version="1.51", timeout=60)
api = client.api
image = sys.argv[2]


def say(step, value):
    print(json.dumps({"step": step, "value": value}), flush=True)


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except docker.errors.APIError as error:
        return [error.status_code, error.explanation]
    return None


def archive(name, content):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


try:
    client.images.get(image)
except docker.errors.ImageNotFound:
    client.images.pull(image)

# Images.
images = api.images(all=True)
say("image fields", all(key in each for key in ("Id", "Created", "RepoTags", "Size", "ParentId") for each in images))
say("quiet", all(each.startswith("sha256:") for each in api.images(quiet=True)))
say("tag", [api.tag(image, "py/tagged", "one"), client.images.get("py/tagged:one").id == client.images.get(image).id])
say("named", [each["RepoTags"] for each in api.images(name="py/tagged")])
say("not there", refused(client.images.get, "py/nosuch"))
say("inspect", [key in api.inspect_image(image) for key in ("Id", "RepoTags", "Created", "RootFS", "Config", "Architecture")])
say("history", [key in api.history(image)[0] for key in ("Id", "Created", "CreatedBy", "Tags", "Size")])

container = api.create_container(image, ["touch", "/test"])
made = api.commit(container, repository="py/made", tag="one", message="why", author="me", changes=["LABEL a=b"])
api.remove_container(container)
inspected = api.inspect_image(made["Id"])
say("commit", [api.images(filters={"label": "a=b"})[0]["ParentId"] == client.images.get(image).id, inspected["Author"], inspected["Comment"], inspected["Config"]["Labels"]])
say("intermediate", [len(api.images(filters={"label": "a=b"})), refused(api.remove_image, client.images.get(image).id, force=True)[0]])
say("removed", [[key for each in api.remove_image("py/made:one", force=True) for key in each]])
say("gone", refused(api.inspect_image, made["Id"])[0])

say("import", "status" in json.loads(api.import_image_from_data(archive("f", b"x"), repository="py/imported", tag="one").splitlines()[-1]))
with tempfile.NamedTemporaryFile() as file:
    file.write(archive("g", b"y"))
    file.flush()
    imported = api.import_image_from_file(file.name, repository="py/imported", tag="two")
    say("import file", "status" in json.loads(imported.splitlines()[-1]))
changed = api.import_image(src=io.BytesIO(archive("h", b"z")).getvalue(), repository="py/imported", tag="three", changes=["USER foobar", "CMD [\"echo\"]"])
say("import changes", [api.inspect_image("py/imported:three")["Config"][key] for key in ("User", "Cmd")])
say("import from nowhere", refused(api.import_image_from_url, "http://127.0.0.1:1/x.tar", repository="py/nowhere"))

saved = b"".join(client.images.get("py/imported:one").save(named=True))
say("save", sorted(name for name in tarfile.open(fileobj=io.BytesIO(saved)).getnames() if not name.startswith("blobs")))
client.images.remove("py/imported:one")
say("load", [each.tags for each in client.images.load(saved)])
say("load nothing", [len(client.images.load(archive("manifest.json", b"[]")))])
try:
    client.images.load(b"abc")
except docker.errors.ImageLoadError:
    say("bad load", "fails")
say("prune", [api.prune_images(filters={"dangling": True, "label": ["nosuch"]})[key] for key in ("ImagesDeleted", "SpaceReclaimed")])
say("remove", [[list(each) for each in api.remove_image(f"py/imported:{tag}")][0] for tag in ("one", "two", "three")])
api.remove_image("py/tagged:one", noprune=True)
say("remove again", refused(api.remove_image, "py/tagged:one"))

# Volumes.
volume = client.volumes.create(name="py-volume", driver="local", labels={"a": "b"})
say("volume", [volume.name, volume.attrs["Driver"], volume.attrs["Labels"], volume.attrs["Scope"], volume.attrs["Options"]])
say("bad driver", refused(api.create_volume, "py-bad", "abc123")[0])
say("anonymous", len(api.create_volume(labels={"c": "d"})["Name"]))
say("list", [each.name for each in client.volumes.list(filters={"label": "a=b"})])
say("list by name", [each["Name"] for each in api.volumes(filters={"name": "py-vol", "dangling": True})["Volumes"]])
say("nothing", refused(api.inspect_volume, "py-nosuch"))
user = api.create_container(
    image,
    ["sh", "-c", "cat /a/f /b/f; touch /b/g; ls /c"],
    volumes=["/a", "/b", "/c"],
    host_config=api.create_host_config(
        binds={"py-volume": {"bind": "/a", "mode": "rw"}},
        mounts=[Mount("/b", "py-volume", read_only=True)],
    ),
)
say("mounts", sorted([each["Destination"], each["Type"], each["RW"]] for each in api.inspect_container(user)["Mounts"]))
api.put_archive(user, "/a", archive("f", b"data\n"))
api.start(user)
say("code", api.wait(user)["StatusCode"])
say("output", api.logs(user, stdout=True, stderr=False).decode())
say("in use", refused(volume.remove)[0])
other = api.create_container(image, ["true"], host_config=api.create_host_config(volumes_from=[user["Id"] + ":ro"]))
say("volumes from", sorted([each["Destination"], each["RW"]] for each in api.inspect_container(other)["Mounts"]))
usage = api.df()
say("df", [sorted(key for key in usage), ["UsageData" in each for each in usage["Volumes"] if each["Name"] == "py-volume"]])
api.remove_container(other, v=True)
api.remove_container(user, v=True)
volume.reload()
say("remove volume", [volume.remove(), refused(volume.remove)[0]])
say("prune volumes", [len(api.prune_volumes(filters={"label": "c=d"})["VolumesDeleted"]), client.volumes.list(filters={"label": "c=d"})])
