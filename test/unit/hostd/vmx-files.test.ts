import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadVmx, newVmConfig, saveVmx } from '../../../src/hostd/vm/vm-config.js';
import { fromVmxFile, toVmxFile } from '../../../src/hostd/vm/vmx-files.js';

const DIRECTORY = '[datastore1] vm/a';

describe('file names in a .vmx', () => {
  it.each([
    ['[datastore1] vm/a/disk.vmdk', 'disk.vmdk'],
    ['[datastore1] vm/a/b/disk.vmdk', '/vmfs/volumes/datastore1/vm/a/b/disk.vmdk'],
    ['[datastore1] vm/ab.vmdk', '/vmfs/volumes/datastore1/vm/ab.vmdk'],
    ['[datastore1] vm/a', '/vmfs/volumes/datastore1/vm/a'],
    ['[datastore1] disk.vmdk', '/vmfs/volumes/datastore1/disk.vmdk'],
    ['[other] vm/a/disk.vmdk', '/vmfs/volumes/other/vm/a/disk.vmdk'],
  ])('%s is %s, and is read back', (file, name) => {
    expect(toVmxFile(file, DIRECTORY)).toBe(name);
    expect(fromVmxFile(name, DIRECTORY)).toBe(file);
  });

  it('are read as earlier versions wrote them, and in a .vmx at the top level', () => {
    expect(fromVmxFile('[datastore1] vm/a/disk.vmdk', DIRECTORY)).toBe('[datastore1] vm/a/disk.vmdk');
    expect(fromVmxFile('b/disk.vmdk', DIRECTORY)).toBe('[datastore1] vm/a/b/disk.vmdk');
    expect(fromVmxFile('/etc/passwd', DIRECTORY)).toBe('/etc/passwd');
    expect(fromVmxFile('', DIRECTORY)).toBe('');
    expect(toVmxFile('[datastore1] disk.vmdk', '[datastore1] ')).toBe('/vmfs/volumes/datastore1/disk.vmdk');
    expect(fromVmxFile('disk.vmdk', '[datastore1] ')).toBe('[datastore1] disk.vmdk');
  });

  it('are those of disks and of serial ports', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'caisson-vmx-'));
    try {
      const path = join(directory, 'a.vmx');
      const config = newVmConfig('a');
      config.hardware.disks.push({ key: 2000, bus: 0, unit: 0, file: `${DIRECTORY}/a.vmdk`, mode: 'persistent' });
      config.hardware.serials.push(
        { key: 9000, backing: { kind: 'file', file: `${DIRECTORY}/output.log` } },
        { key: 9001, backing: { kind: 'uri', serviceUri: 'unix:///run/x.sock', direction: 'client' } },
      );
      await saveVmx(path, DIRECTORY, config);
      const names = [...readFileSync(path, 'utf8').matchAll(/fileName = "(.*)"/g)].map((match) => match[1]);
      expect(names).toEqual(['a.vmdk', 'output.log', '/run/x.sock']);
      expect((await loadVmx(path, DIRECTORY)).hardware).toEqual(config.hardware);
      const earlier = readFileSync(path, 'utf8')
        .replace('"pipe"', '"network"')
        .replace('"/run/x.sock"', '"unix:///run/x.sock"')
        .replace('pipe.endPoint', 'network.endPoint');
      writeFileSync(path, earlier);
      expect((await loadVmx(path, DIRECTORY)).hardware).toEqual(config.hardware);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
