/** The filters of `docker events` (moby `daemon/events/filter.go`). Some match the beginning of a name, some all of it. */
import { familiarName, parseReference } from '../../image/index.js';
import { hasLabel } from '../values/filters.js';
import type { DockerEvent } from './event-bus.js';

/** Types whose filters match the beginning of an id or a name. */
const ACTORS = ['container', 'daemon', 'plugin', 'volume', 'network', 'node', 'service', 'secret', 'config'];
/** Actions with details after a colon. If one of them is among the filters, all filters match beginnings. */
const WITH_DETAILS = ['health_status', 'exec_create', 'exec_start'];

/** Whether an event passes the filters. */
export function passes(event: DockerEvent, filters: Map<string, string[]>): boolean {
  const any = (name: string, test: (value: string) => boolean): boolean => {
    const values = filters.get(name) ?? [];
    return values.length === 0 || values.some(test);
  };
  const { ID: id, Attributes: attributes } = event.Actor;
  const beginnings = (filters.get('event') ?? []).some((value) => WITH_DETAILS.includes(value));
  return (
    any('type', (value) => event.Type === value) &&
    any('event', (value) => event.Action === value || (beginnings && event.Action.startsWith(value))) &&
    any('scope', (value) => event.scope === value) &&
    ACTORS.every((type) => any(type, (value) => id.startsWith(value) || (attributes.name ?? '').startsWith(value))) &&
    any('image', (value) => imageNames(event).includes(value)) &&
    (filters.get('label') ?? []).every((label) => hasLabel(attributes, label))
  );
}

/** The names of an event's image, with the tag and without: a container's image, or the image itself. */
function imageNames({ Type: type, Actor: { ID: id, Attributes: attributes } }: DockerEvent): string[] {
  const name = attributes[type === 'image' ? 'name' : 'image'] ?? '';
  return [id, name, withoutTag(id), withoutTag(name)];
}

function withoutTag(name: string): string {
  try {
    return familiarName(parseReference(name));
  } catch {
    return name;
  }
}
