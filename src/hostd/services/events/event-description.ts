/** What EventManager says of the kinds of events, for clients that show it. */
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

/** Those that this host posts. A client that does not know an event's name fails on it; older clients know all of these. */
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
