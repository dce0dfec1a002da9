/** What TaskManager says of the kinds of tasks, for clients that show it. */
const described = (key: string, label: string): object => ({ $type: 'ElementDescription', key, label, summary: label });

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
  'VirtualDiskManager.extendVirtualDisk': 'Extend virtual disk',
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
