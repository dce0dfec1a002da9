/** SOAP envelopes and hostile XML. */
import { describe, expect, it } from 'vitest';
import { kindOf } from '../../../src/common/errors.js';
import { VimFault } from '../../../src/vim25/faults.js';
import {
  decodeRequest,
  decodeResponse,
  encodeFault,
  encodeRequest,
  encodeResponse,
  envelope,
} from '../../../src/vim25/soap-message.js';
import { parseXml } from '../../../src/vim25/xml.js';

const target = { type: 'SessionManager', value: 'ha & "sessionmgr"' };
const kindOfThrown = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    return kindOf(error);
  }
  return 'none';
};

describe('SOAP messages', () => {
  it('carries a request with its operation id', () => {
    const args = { userName: 'root', password: ' <&> ' };
    const body = `<Login xmlns="urn:vim25">${encodeRequest('Login', target, args)}</Login>`;
    const request = decodeRequest(envelope(body, '<operationID xmlns="urn:vim25">abc</operationID>'));
    expect(request).toEqual({ operation: 'Login', target, args, operationId: 'abc' });
  });

  it('reads a request with other prefixes, and one of an unknown operation', () => {
    const text = `<?xml version="1.0"?><SOAP:Envelope xmlns:SOAP="http://schemas.xmlsoap.org/soap/envelope/" xmlns:v="urn:vim25">
      <SOAP:Body><v:PowerOnVM_Task><v:_this type="VirtualMachine">vm-1</v:_this></v:PowerOnVM_Task></SOAP:Body></SOAP:Envelope>`;
    expect(decodeRequest(text)).toMatchObject({ operation: 'PowerOnVM_Task', target: { value: 'vm-1' }, args: {} });
    const unknown = decodeRequest(text.replaceAll('PowerOnVM_Task', 'FlyToTheMoon'));
    expect(unknown).toMatchObject({ operation: 'FlyToTheMoon', args: {} });
  });

  it('refuses a request that lacks or exceeds what the operation takes', () => {
    const request = (content: string) =>
      envelope(`<Login xmlns="urn:vim25"><_this type="SessionManager">s</_this>${content}</Login>`);
    expect(kindOfThrown(() => decodeRequest(request('<userName>a</userName>')))).toBe('invalid');
    const more = '<userName>a</userName><password>b</password><colour>red</colour>';
    expect(kindOfThrown(() => decodeRequest(request(more)))).toBe('invalid');
    expect(kindOfThrown(() => decodeRequest(envelope('')))).toBe('invalid');
  });

  it('carries answers: none, one, many', () => {
    expect(decodeResponse('Logout', encodeResponse('Logout', undefined))).toEqual({ kind: 'result', value: undefined });
    const now = new Date();
    expect(decodeResponse('CurrentTime', encodeResponse('CurrentTime', now))).toEqual({ kind: 'result', value: now });
    const refs = [1, 2].map((n) => ({ type: 'VirtualMachine', value: `vm-${n}` }));
    expect(decodeResponse('FindAllByUuid', encodeResponse('FindAllByUuid', refs))).toEqual({
      kind: 'result',
      value: refs,
    });
    expect(decodeResponse('FindAllByUuid', encodeResponse('FindAllByUuid', []))).toEqual({ kind: 'result', value: [] });
  });

  it('carries faults with their type and fields', () => {
    const fault = { $type: 'DuplicateName', name: 'a<b', object: { type: 'VirtualMachine', value: 'vm-1' } };
    const response = decodeResponse('Rename_Task', encodeFault('taken & gone', fault));
    expect(response).toEqual({ kind: 'fault', message: 'taken & gone', fault });
    expect(decodeResponse('Rename_Task', encodeFault('', null))).toEqual({ kind: 'fault', message: '', fault: null });
  });

  it('reads a fault of a type it does not know', () => {
    const text = envelope(
      '<soapenv:Fault><faultcode>x</faultcode><faultstring>s</faultstring><detail><TomorrowFault xsi:type="Tomorrow"><a>1</a></TomorrowFault></detail></soapenv:Fault>',
    );
    expect(decodeResponse('Logout', text)).toMatchObject({ kind: 'fault', fault: { $type: 'Tomorrow' } });
  });

  it('gives a fault the kind of its nearest known ancestor', () => {
    const kind = ($type: string): string => new VimFault('Op', { $type }, 'm').kind;
    expect(kind('InvalidPowerState')).toBe('conflict');
    expect(kind('InvalidLogin')).toBe('unauthorized');
    expect(kind('FileNotFound')).toBe('notFound');
    expect(kind('InsufficientMemoryResourcesFault')).toBe('insufficientResources');
    expect(kind('NotAuthenticated')).toBe('unauthorized');
    expect(kind('RestrictedVersion')).toBe('forbidden');
    expect(kind('SystemError')).toBe('internal');
    expect(kind('Tomorrow')).toBe('internal');
    expect(new VimFault('Op', { $type: 'InvalidPowerState' }, '').is('InvalidState')).toBe(true);
    expect(new VimFault('Op', null, '').is('MethodFault')).toBe(false);
  });

  it('distinguishes an invalid answer from a bad request', () => {
    for (const text of ['', 'not xml', '<html><body>502</body></html>', envelope(''), envelope('<OtherResponse/>')]) {
      expect(kindOfThrown(() => decodeResponse('Login', text))).toBe('unavailable');
    }
  });
});

describe('hostile XML', () => {
  it('is refused', () => {
    const nested = (depth: number): string => `${'<a>'.repeat(depth)}${'</a>'.repeat(depth)}`;
    // As deep as the chain of a disk of 256 files, with the elements around it.
    expect(() => parseXml(nested(280))).not.toThrow();
    const deep = nested(301);
    const bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>';
    for (const text of ['', '<a>', '<a></b>', '<a/><b/>', '<a>&b;</a>', '<a b=1/>', '<a b="1" b="2"/>', deep, bomb]) {
      expect(
        kindOfThrown(() => parseXml(text)),
        text.slice(0, 40),
      ).toBe('invalid');
    }
    expect(parseXml('<a __proto__="x" constructor="y"><__proto__>1</__proto__></a>').children[0]?.text).toBe('1');
  });
});
