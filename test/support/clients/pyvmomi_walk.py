"""Reads everything from a vSphere server with pyVmomi, a third-party client, and prints it as JSON.

usage: pyvmomi_walk.py HOST PORT USER PASSWORD collector|fetch

`collector` reads properties as Debian's pyVmomi does; `fetch` as pyVmomi 8 does, with the method Fetch on each object.
"""

import json
import ssl
import sys

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl
from pyVmomi.SoapAdapter import SoapStubAdapterBase
from pyVmomi.VmomiSupport import F_OPTIONAL, ManagedObject, Object

host, port, user, password, way = sys.argv[1:]


def fetch(stub, mo, info):
    """StubAdapterBase.InvokeAccessor of pyVmomi 8."""
    param = Object(name="prop", type=str, version=stub.version, flags=0)
    method = Object(name=info.name, type=ManagedObject, wsdlName="Fetch", version=info.version, params=(param,),
                    isTask=False, resultFlags=F_OPTIONAL, result=info.type, methodResult=info.type)
    return stub.InvokeMethod(mo, method, (info.name,))


if way == "fetch":
    SoapStubAdapterBase.InvokeAccessor = fetch

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
instance = SmartConnect(host=host, port=int(port), user=user, pwd=password, sslContext=context)
content = instance.content

seen = set()
errors = []
queue = [instance] + [getattr(content, info.name) for info in content._GetPropertyList()]
values = 0


def references(value):
    """Managed objects in a value, to any depth."""
    global values
    values += 1
    if isinstance(value, ManagedObject):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, vmodl.DynamicData):
        for info in value._GetPropertyList():
            yield from references(getattr(value, info.name))


view = content.viewManager.CreateContainerView(content.rootFolder, [], True)
queue += [view] + list(view.view)
tasks = [vm.PowerOn() for vm in view.view if isinstance(vm, vim.VirtualMachine) and vm.runtime.powerState == "poweredOff"]
queue += tasks
browser = content.rootFolder.childEntity[0].datastore[0].browser
search = browser.SearchDatastoreSubFolders_Task("[datastore1]", None)
while search.info.state not in ("success", "error"):
    pass
queue.append(search)
while queue:
    object = queue.pop(0)
    if not isinstance(object, ManagedObject) or object._GetMoId() in seen:
        continue
    seen.add(object._GetMoId())
    for info in object._GetPropertyList():
        try:
            queue += references(getattr(object, info.name))
        except Exception as error:
            errors.append("%s.%s: %r" % (object.__class__.__name__, info.name, error))

machines = []
for vm in view.view:
    if not isinstance(vm, vim.VirtualMachine):
        continue
    devices = vm.config.hardware.device
    machines.append({
        "name": vm.name,
        "power": vm.runtime.powerState,
        "disks": [disk.capacityInKB for disk in devices if isinstance(disk, vim.vm.device.VirtualDisk)],
        "parents": [disk.backing.parent.fileName for disk in devices
                    if isinstance(disk, vim.vm.device.VirtualDisk) and disk.backing.parent],
        "cards": [[card.controllerKey, card.unitNumber] for card in devices
                  if isinstance(card, vim.vm.device.VirtualEthernetCard)],
    })
collector = content.eventManager.CreateCollectorForEvents(vim.event.EventFilterSpec())
first = collector.ReadNextEvents(1)
search_entity = search.info.entity
print(json.dumps({
    "objects": sorted(seen),
    "values": values,
    "errors": errors,
    "machines": machines,
    "firstEvent": first[0].key if first else None,
    "searchEntity": search_entity.__class__.__name__ if search_entity is not None else None,
    "taskEntities": [task.info.entity.name for task in tasks],
    "task": search.info.state,
}))
Disconnect(instance)
