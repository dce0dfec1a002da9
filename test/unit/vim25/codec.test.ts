/** vim25 values to XML and back. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  arrayOf,
  constant,
  decodeElement,
  decodeFields,
  encodeElement,
  encodeFields,
  typedValue,
} from '../../../src/vim25/codec.js';
import { type FieldInfo, operationInfo, propertyInfo, typeFields } from '../../../src/vim25/table.js';
import { parseXml } from '../../../src/vim25/xml.js';

const XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"';
const field = (type: string, array = false): FieldInfo => ({
  name: 'x',
  type,
  array,
  optional: false,
  polymorphic: false,
});

const fieldOf = (type: string, name: string): FieldInfo => typeFields(type)!.find((one) => one.name === name)!;

/** Encodes and decodes again. */
function round(type: string, value: unknown): unknown {
  const xml = encodeElement(field(type), value, 'test');
  return decodeElement(field(type), parseXml(`<r ${XSI}>${xml}</r>`).children[0]!, 'test', 'strict');
}

const decode = (type: string, xml: string, strictness: 'lenient' | 'strict' = 'lenient'): unknown =>
  decodeElement(field(type), parseXml(xml), 'test', strictness);

describe('the codec', () => {
  it('keeps strings exactly', () => {
    for (const text of ['', ' ', '  a\tb\n ', '\r\n', '<&>"\'', ']]>', 'é𝄞', '&amp;', '0', 'true']) {
      expect(round('string', text)).toBe(text);
      expect(round('anyType', text)).toBe(text);
    }
    expect(round('string', 'a\u0000b\ud800c\uffff')).toBe('a\ufffdb\ufffdc\ufffd');
  });

  it('keeps any string of characters that XML can hold', () => {
    const char = fc.oneof(
      fc.constantFrom('\t', '\n', '\r', ' ', '<', '&', ']', '>', '"'),
      fc.integer({ min: 0x20, max: 0xd7ff }).map((code) => String.fromCodePoint(code)),
      fc.integer({ min: 0x10000, max: 0x10ffff }).map((code) => String.fromCodePoint(code)),
    );
    fc.assert(
      fc.property(fc.string({ unit: char }), (text) => {
        expect(round('string', text)).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps primitives of any type by their JavaScript type', () => {
    const date = new Date('2026-01-02T03:04:05.678Z');
    for (const value of [
      true,
      false,
      0,
      -1,
      2 ** 31 - 1,
      2 ** 31,
      -(2 ** 31),
      2 ** 53 - 1,
      1.5,
      -0.25,
      1e300 + 0.5,
      date,
    ]) {
      if (typeof value === 'number' && Math.abs(value) > 2 ** 53) continue;
      expect(round('anyType', value)).toEqual(value);
    }
    expect(encodeElement(field('anyType'), 5, 't')).toContain('"xsd:int"');
    expect(encodeElement(field('anyType'), 2 ** 31, 't')).toContain('"xsd:long"');
    expect(encodeElement(field('anyType'), date, 't')).toContain('"xsd:dateTime"');
  });

  it('sends a value as its declared type where asked', () => {
    const memory = fieldOf('VirtualMachineStorageSummary', 'committed');
    expect(encodeElement(field('anyType'), typedValue(memory, 5), 't')).toBe('<x xsi:type="xsd:long">5</x>');
    const state = fieldOf('VirtualMachineRuntimeInfo', 'powerState');
    expect(encodeElement(field('anyType'), typedValue(state, 'poweredOn'), 't')).toBe(
      '<x xsi:type="VirtualMachinePowerState">poweredOn</x>',
    );
    expect(() => encodeElement(field('anyType'), typedValue(state, 'odd'), 't')).toThrow(/VirtualMachinePowerState/);
    const refs = typedValue(propertyInfo('Datacenter', 'datastore')!, [{ type: 'Datastore', value: 'ds-1' }]);
    expect(encodeElement(field('anyType'), refs, 't')).toBe(
      '<x xsi:type="ArrayOfManagedObjectReference"><ManagedObjectReference type="Datastore" xsi:type="ManagedObjectReference">ds-1</ManagedObjectReference></x>',
    );
    const runtime = typedValue(propertyInfo('ServiceInstance', 'content')!, {
      rootFolder: { type: 'Folder', value: 'f' },
    });
    expect(runtime).toMatchObject({ $type: 'ServiceContent' });
  });

  it('keeps arrays of any type', () => {
    expect(round('anyType', arrayOf('string', ['a', ' b ']))).toEqual(['a', ' b ']);
    expect(round('anyType', arrayOf('int', []))).toEqual([]);
    const devices = [
      { $type: 'VirtualCdrom', key: 1, backing: { $type: 'VirtualCdromIsoBackingInfo', fileName: '[a] b' } },
    ];
    expect(round('anyType', arrayOf('VirtualDevice', devices))).toEqual(devices);
    expect(round('anyType', arrayOf('VirtualMachinePowerState', ['poweredOn']))).toEqual(['poweredOn']);
    expect(round('anyType', arrayOf('anyType', [1, 'x', true]))).toEqual([1, 'x', true]);
  });

  it('writes inherited elements first, whatever the order of the keys', () => {
    const xml = encodeElement(
      field('VirtualDevice'),
      {
        $type: 'VirtualDisk',
        capacityInKB: 5,
        unitNumber: 1,
        backing: {
          $type: 'VirtualDiskFlatVer2BackingInfo',
          thinProvisioned: true,
          diskMode: 'persistent',
          fileName: 'f',
        },
        key: 2000,
      },
      't',
    );
    const names = [...xml.matchAll(/<(\w+)/g)].map((match) => match[1]);
    expect(names).toEqual([
      'x',
      'key',
      'backing',
      'fileName',
      'diskMode',
      'thinProvisioned',
      'unitNumber',
      'capacityInKB',
    ]);
    expect(xml.startsWith('<x xsi:type="VirtualDisk">')).toBe(true);
  });

  it('refuses to send a value of the wrong type', () => {
    const bad: [string, unknown][] = [
      ['int', 1.5],
      ['int', 2 ** 31],
      ['int', '5'],
      ['short', 40_000],
      ['byte', -129],
      ['long', 2 ** 53],
      ['long', Number.NaN],
      ['boolean', 'true'],
      ['string', 5],
      ['dateTime', '2026-01-01'],
      ['dateTime', new Date(Number.NaN)],
      ['ManagedObjectReference', 'vm-1'],
      ['VirtualDevice', { $type: 'OptionValue', key: 'a', value: 'b' }],
      ['VirtualDevice', { $type: 'constructor', key: 1 }],
      ['VirtualDevice', { key: 1, colour: 'red' }],
      ['VirtualDevice', {}],
      ['VirtualDevice', [1]],
      ['VirtualMachinePowerState', 'on'],
      ['anyType', { key: 'no type' }],
      ['anyType', null],
      ['anyType', 1e300],
      ['?', {}],
    ];
    for (const [type, value] of bad) {
      expect(() => encodeElement(field(type), value, 'test'), `${type} ${String(value)}`).toThrow();
    }
  });

  it('reads what other servers write', () => {
    expect(decode('boolean', '<x> 1 </x>')).toBe(true);
    expect(decode('int', '<x>\n+5 </x>')).toBe(5);
    expect(decode('double', '<x>-INF</x>')).toBe(Number.NEGATIVE_INFINITY);
    expect(decode('dateTime', '<x>2026-01-02T03:04:05.123456789Z</x>')).toEqual(new Date('2026-01-02T03:04:05.123Z'));
    expect(decode('dateTime', '<x>2026-01-02T03:04:05+02:00</x>')).toEqual(new Date('2026-01-02T01:04:05Z'));
    expect(decode('dateTime', '<x>2026-01-02T03:04:05</x>')).toEqual(new Date('2026-01-02T03:04:05Z'));
    expect(decode('string', '<x>a<![CDATA[ <b> ]]>c</x>')).toBe('a <b> c');
    expect(decode('string', '<x>&#34;&#x1D11E;</x>')).toBe('"𝄞');
    const ref =
      '<x type="Folder" Q:type="ManagedObjectReference" xmlns:Q="http://www.w3.org/2001/XMLSchema-instance">f</x>';
    expect(decode('anyType', ref)).toEqual({ type: 'Folder', value: 'f' });
    expect(decode('anyType', '<x type="Folder">f</x>')).toEqual({ type: 'Folder', value: 'f' });
    expect(decode('anyType', `<x ${XSI} xsi:type="ns1:ArrayOfString"><string>a</string></x>`)).toEqual(['a']);
    expect(decode('base64Binary', '<x>AAEC</x>')).toBe('AAEC');
  });

  it('reads newer servers leniently and newer clients strictly', () => {
    const disk = `<x ${XSI} xsi:type="VirtualDiskOfTomorrow"><key>5</key><colour>red</colour></x>`;
    expect(decode('VirtualDevice', disk)).toEqual({ $type: 'VirtualDiskOfTomorrow', key: 5 });
    expect(() => decode('VirtualDevice', disk, 'strict')).toThrow(/unknown type/);
    const unknown = `<x ${XSI} xsi:type="VirtualDisk"><key>5</key><capacityInKB>1</capacityInKB><colour>red</colour></x>`;
    expect(decode('VirtualDevice', unknown)).toEqual({ $type: 'VirtualDisk', key: 5, capacityInKB: 1 });
    expect(() => decode('VirtualDevice', unknown, 'strict')).toThrow(/colour/);
    expect(() => decode('VirtualDevice', '<x><unitNumber>5</unitNumber></x>', 'strict')).toThrow(/key is required/);
    expect(decode('VirtualMachinePowerState', '<x>dreaming</x>')).toBe('dreaming');
    expect(() => decode('VirtualMachinePowerState', '<x>dreaming</x>', 'strict')).toThrow(/VirtualMachinePowerState/);
    expect(decode('long', '<x>9223372036854775807</x>')).toBe(2 ** 63);
    expect(() => decode('long', '<x>9223372036854775807</x>', 'strict')).toThrow(/range/);
  });

  it('refuses malformed values', () => {
    const bad: [string, string][] = [
      ['int', '0x10'],
      ['int', '1e3'],
      ['int', ''],
      ['int', '1.5'],
      ['boolean', 'yes'],
      ['dateTime', '2026'],
      ['dateTime', 'yesterday'],
      ['dateTime', '2026-13-41T00:00:00Z'],
      ['double', '1,5'],
    ];
    for (const [type, text] of bad) expect(() => decode(type, `<x>${text}</x>`), `${type} ${text}`).toThrow(/is not a/);
    expect(() => decode('VirtualDevice', `<x ${XSI} xsi:type="OptionValue"><key>a</key></x>`)).toThrow(/is not a/);
    for (const type of ['constructor', '__proto__', 'toString', 'ArrayOfConstructor']) {
      const xml = `<x ${XSI} xsi:type="${type}"><a>1</a></x>`;
      expect(() => decode('VirtualDevice', xml, 'strict')).toThrow(/unknown type/);
      expect(() => decode('anyType', xml, 'strict')).toThrow();
    }
  });

  it('keeps everything in a VM creation', () => {
    const { args } = operationInfo('CreateVM_Task')!;
    const value = {
      config: {
        name: 'vm',
        files: { vmPathName: '[ds] vm/vm.vmx' },
        memoryMB: 2048,
        deviceChange: [
          {
            operation: 'add',
            device: { $type: 'ParaVirtualSCSIController', key: -1, busNumber: 0, sharedBus: 'noSharing' },
          },
        ],
        extraConfig: [
          { key: 'a', value: 'text' },
          { key: 'b', value: 7 },
        ],
      },
      pool: { type: 'ResourcePool', value: 'resgroup-1' },
    };
    const xml = encodeFields(args, value, 'CreateVM_Task');
    expect(decodeFields(args, parseXml(`<r ${XSI}>${xml}</r>`), 'CreateVM_Task', 'strict')).toEqual(value);
  });

  it('knows the fields of whole type hierarchies, own ones last', () => {
    expect(typeFields('InvalidPowerState')?.map((one) => one.name)).toEqual([
      'faultCause',
      'faultMessage',
      'requestedState',
      'existingState',
    ]);
    expect(typeFields('constructor')).toBeUndefined();
    expect(operationInfo('constructor')).toBeUndefined();
  });
});

describe('items of arrays where any type is allowed', () => {
  const any = { name: 'x', type: 'anyType', array: false, optional: false, polymorphic: false };
  const sent = (element: string, values: unknown[]): string => encodeElement(any, arrayOf(element, values), 't');

  it('that are constant are encoded once by name and declared type', () => {
    const keyboard = constant({ $type: 'VirtualKeyboard', key: 1 });
    const item = { name: 'device', type: 'VirtualDevice', array: true, optional: true, polymorphic: true };
    const own = { ...item, name: 'keyboard', type: 'VirtualKeyboard' };
    for (let time = 0; time < 2; time++) {
      expect(encodeElement(item, keyboard, 't')).toBe('<device xsi:type="VirtualKeyboard"><key>1</key></device>');
      expect(encodeElement(own, keyboard, 't')).toBe('<keyboard><key>1</key></keyboard>');
      expect(sent('VirtualDevice', [keyboard])).toContain('<VirtualDevice xsi:type="VirtualKeyboard"><key>1</key>');
      expect(() => encodeElement({ ...item, type: 'Description' }, keyboard, 't')).toThrow('is not a Description');
    }
    keyboard.key = 2;
    expect(encodeElement(own, keyboard, 't')).toBe('<keyboard><key>1</key></keyboard>');
  });

  it('name their types: primitives, enumerations, references, objects and their subclasses', () => {
    expect(sent('string', ['a'])).toContain('<string xsi:type="xsd:string">a</string>');
    expect(sent('short', [1])).toContain('<short xsi:type="xsd:short">1</short>');
    expect(sent('ManagedObjectReference', [{ type: 'Task', value: 't' }])).toContain(
      'xsi:type="ManagedObjectReference"',
    );
    expect(sent('OptionValue', [{ key: 'k', value: 'v' }])).toContain(
      '<OptionValue xsi:type="OptionValue"><key>k</key>',
    );
    const devices = sent('VirtualDevice', [{ $type: 'VirtualKeyboard', key: 1 }]);
    expect(devices).toBe(
      '<x xsi:type="ArrayOfVirtualDevice"><VirtualDevice xsi:type="VirtualKeyboard"><key>1</key></VirtualDevice></x>',
    );
    expect(decodeElement(any, parseXml(`<x xmlns:xsi="i" ${devices.slice(3)}`), 't')).toEqual([
      { $type: 'VirtualKeyboard', key: 1 },
    ]);
  });

  it('have the type of the array', () => {
    expect(() => sent('VirtualDevice', [{ $type: 'OptionValue', key: 'k', value: 'v' }])).toThrow(
      'is not a VirtualDevice',
    );
    expect(() => sent('int', ['a'])).toThrow('must be a whole number');
  });
});
