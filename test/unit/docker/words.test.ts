/** Docker's messages for errors of the port layer, byte for byte: clients and scripts match them. */
import { expect, it } from 'vitest';
import { dockerMessage, dockerMessageOf } from '../../../appliance/docker/words/docker-message.js';
import { type ErrorCode, type ErrorSubject, errorRecord, PortLayerError } from '../../../port-layer/index.js';
import { conflict } from '../../../src/common/errors.js';

const container = 'c'.repeat(64);
const entry = { type: 'link', name: 'a/b', linkName: 'c', uid: 1, gid: 2 };

const row = <C extends ErrorCode>(code: C, subject: ErrorSubject<C>, words: string): [PortLayerError<C>, string] => [
  new PortLayerError(code, subject),
  words,
];

it.each([
  row('container.notFound', { reference: 'x' }, 'No such container: x'),
  row('container.ambiguous', { prefix: 'a' }, 'Multiple IDs found with provided prefix: a'),
  row(
    'container.nameTaken',
    { name: 'n', holder: container },
    `Conflict. The container name "/n" is already in use by container "${container}". You have to remove (or rename) that container to be able to reuse that name.`,
  ),
  row('container.notRunning', { container }, `container ${container} is not running`),
  row('container.alreadyPaused', { container }, `Container ${container} is already paused`),
  row('container.notPaused', { container }, `Container ${container} is not paused`),
  row(
    'container.stillRunning',
    { container, name: 'n' },
    'cannot remove container "/n": container is running: stop the container before removing or force remove',
  ),
  row(
    'container.beingRemoved',
    { container, hinders: 'remove' },
    `removal of container ${container} is already in progress`,
  ),
  row(
    'container.standsStill',
    { reason: 'no space left on device' },
    'no space left on device: the container stands still',
  ),
  row(
    'container.heldByHost',
    { container, reason: 'no space left on device' },
    `Container ${container} is paused: no space left on device: the container stands still`,
  ),
  row('start.beingRemoved', {}, 'container is marked for removal and cannot be started'),
  row('exec.notFound', { exec: 'e' }, 'No such exec instance: e'),
  row('exec.alreadyRun', { exec: 'e' }, 'exec command e has already run'),
  row(
    'exec.relativeDirectory',
    { of: 'exec', exitCode: 128, directory: 'x' },
    'OCI runtime exec failed: exec failed: Cwd must be an absolute path',
  ),
  row('files.notFound', { container, path: '/x' }, `Could not find the file /x in container ${container}`),
  row('archive.outside', { part: 'entry name', name: '../x' }, 'invalid entry name "../x"'),
  row('archive.entryFailed', { step: 'make', entry, reason: 'file exists' }, 'linkat c a/b: file exists'),
  row(
    'archive.entryFailed',
    { step: 'owner', entry, reason: 'no space left on device' },
    'failed to Lchown "a/b" for UID 1, GID 2: lchownat a/b: no space left on device',
  ),
  row('volume.notFound', { volume: 'v' }, 'get v: no such volume'),
  row('volume.inUse', { volume: 'v' }, 'remove v: volume is in use'),
  row('network.notFound', { network: 'n' }, 'network n not found'),
  row('network.gone', { network: 'n' }, 'failed to set up container networking: network n not found'),
  row('container.stopped', {}, 'the container has stopped'),
])('%s', (error, words) => {
  expect(dockerMessage(error)).toBe(words);
  // Stored as text and read again.
  expect(dockerMessageOf(JSON.parse(JSON.stringify(errorRecord(error))))).toBe(words);
});

it('other errors keep their message, and so does a stored error with a code unknown to this version', () => {
  expect(dockerMessageOf(errorRecord(conflict('as it is')))).toBe('as it is');
  const known = { code: 'container.later' as ErrorCode, subject: {} };
  expect(dockerMessageOf({ kind: 'conflict', message: 'as it was', known })).toBe('as it was');
  expect(dockerMessageOf(null)).toBe('');
});
