import { expect, it } from 'vitest';
import { newVolume } from '../../../appliance/docker/volumes/volume-options.js';

const asked = (options: Record<string, string>, driver = '') => newVolume('vol', driver, options, null);

it.each([
  [
    { type: 'tmpfs', device: 'tmpfs', o: 'size=10m,uid=1000,mode=700' },
    'tmpfs',
    'tmpfs',
    0,
    'size=10m,uid=1000,mode=700',
  ],
  [{ type: 'tmpfs', device: 'x' }, 'tmpfs', 'x', 0, ''],
  [{ type: 'tmpfs', device: 'x', o: 'defaults,noexec,ro,exec,nosuid' }, 'tmpfs', 'x', 3, ''],
  [{ type: 'nfs', device: ':/p', o: 'addr=10.0.0.1,rw,nfsvers=4' }, 'nfs', ':/p', 0, 'addr=10.0.0.1,nfsvers=4'],
  [{ type: 'nfs4', device: 'host:/p', o: 'ro,soft,rshared' }, 'nfs4', 'host:/p', 1, 'soft'],
])('%j is what the guest mounts', (options, type, device, flags, data) => {
  expect(asked(options).mount).toEqual({ type, device, flags, data });
});

it('is nothing without such options', () => {
  expect(asked({ size: '10m' })).not.toHaveProperty('mount');
});

// Most of these are answers of Docker's engine.
it.each([
  [{ type: 'tmpfs' }, 'missing required option: "device"', 'invalid'],
  [{ device: 'tmpfs' }, 'missing required option: "type"', 'invalid'],
  [{ o: 'size=1m' }, 'missing required option: "device"', 'invalid'],
  [{ type: 'tmpfs', device: 'tmpfs', foo: 'bar' }, 'invalid option: "foo"', 'invalid'],
  [{ Type: 'tmpfs', Device: 'tmpfs' }, 'invalid option: "Type"', 'invalid'],
  [{ type: 'tmpfs', device: 'tmpfs', size: '10m' }, 'quota size requested but no quota support', 'invalid'],
  [{ type: 'none', o: 'bind', device: '/d' }, 'a directory of the host cannot be mounted', 'unsupported'],
  [{ type: 'tmpfs', o: 'rbind', device: '/d' }, 'a directory of the host cannot be mounted', 'unsupported'],
  [{ type: 'cifs', device: '//h/s' }, 'type "cifs" is not implemented', 'unsupported'],
  [{ type: '', device: '/d' }, 'type "" is not implemented', 'unsupported'],
  [{ type: 'nfs', device: ':/p', o: 'remount' }, 'invalid option: "remount"', 'invalid'],
  [{ type: 'nfs', device: ':/p', o: `addr=${'1'.repeat(2000)}` }, 'are limited to 1000 characters', 'invalid'],
])('%j is refused: %s', (options, message, kind) => {
  expect(() => asked(options)).toThrow(expect.objectContaining({ kind, message: expect.stringContaining(message) }));
});

it('is an option of Docker’s driver alone', () => {
  expect(() => asked({ type: 'tmpfs', device: 'x' }, 'vsphere')).toThrow('bad driver value - type is not a supported');
});
