/** What the managers say of events and tasks, for clients that show it. */
const described = (key: string, label: string): object => ({ $type: 'ElementDescription', key, label, summary: label });

/** Severities of events (vSphere API reference, EventCategory). */
const CATEGORIES = { info: 'Information', warning: 'Warning', error: 'Error', user: 'User' };

function categoryOf(type: string): keyof typeof CATEGORIES {
  if (/Failed|Error|BadUsername|NotAuthorized/.test(type)) return 'error';
  return 'info';
}

/** `VmPoweredOnEvent` as `Vm powered on`. */
function words(type: string): string {
  const text = type.replace(/Event$/, '').replace(/([a-z0-9])([A-Z])/g, '$1 $2');
  return text[0]! + text.slice(1).toLowerCase();
}

/** Those that this host posts. A client older than an event takes offence at its name: older ones know all of these. */
const EVENTS = [
  'BadUsernameSessionEvent',
  'ResourcePoolCreatedEvent',
  'ResourcePoolDestroyedEvent',
  'UserLoginSessionEvent',
  'UserLogoutSessionEvent',
  'VmCreatedEvent',
  'VmFailedToPowerOnEvent',
  'VmGuestRebootEvent',
  'VmGuestShutdownEvent',
  'VmPoweredOffEvent',
  'VmPoweredOnEvent',
  'VmReconfiguredEvent',
  'VmRegisteredEvent',
  'VmRemovedEvent',
  'VmRenamedEvent',
  'VmStartingEvent',
  'VmSuspendedEvent',
];

/** EventDescription: severities, and which event has which. */
export const EVENT_DESCRIPTION = {
  category: Object.entries(CATEGORIES).map(([key, label]) => described(key, label)),
  eventInfo: EVENTS.map((key) => ({
    key,
    description: words(key),
    category: categoryOf(key),
    formatOnDatacenter: '{fullFormattedMessage}',
    formatOnComputeResource: '{fullFormattedMessage}',
    formatOnHost: '{fullFormattedMessage}',
    formatOnVm: '{fullFormattedMessage}',
    fullFormat: '{fullFormattedMessage}',
  })),
};

const METHODS: Record<string, string> = {
  'VirtualMachine.powerOn': 'Power On virtual machine',
  'VirtualMachine.powerOff': 'Power Off virtual machine',
  'VirtualMachine.reset': 'Reset virtual machine',
  'VirtualMachine.suspend': 'Suspend virtual machine',
  'VirtualMachine.reconfigure': 'Reconfigure virtual machine',
  'ManagedEntity.rename': 'Rename entity',
  'ManagedEntity.destroy': 'Delete entity',
  'Folder.createVm': 'Create virtual machine',
  'Folder.registerVm': 'Register virtual machine',
  'FileManager.deleteFile': 'Delete file',
  'FileManager.move': 'Move file',
  'FileManager.copy': 'Copy file',
  'VirtualDiskManager.createVirtualDisk': 'Create virtual disk',
  'VirtualDiskManager.deleteVirtualDisk': 'Delete virtual disk',
  'VirtualDiskManager.copyVirtualDisk': 'Copy virtual disk',
  'DatastoreBrowser.searchDatastore': 'Search datastore',
  'DatastoreBrowser.searchDatastoreSubFolders': 'Search datastore subfolders',
};

const STATES = { queued: 'Queued', running: 'Running', success: 'Success', error: 'Error' };
const REASONS = {
  TaskReasonUser: 'User task',
  TaskReasonSystem: 'System task',
  TaskReasonAlarm: 'Alarm task',
  TaskReasonSchedule: 'Scheduled task',
};

/** TaskDescription: the tasks of this host by `descriptionId`, with states and reasons. */
export const TASK_DESCRIPTION = {
  methodInfo: Object.entries(METHODS).map(([key, label]) => described(key, label)),
  state: Object.entries(STATES).map(([key, label]) => described(key, label)),
  reason: Object.entries(REASONS).map(([key, label]) => ({ $type: 'TypeDescription', key, label, summary: label })),
};
