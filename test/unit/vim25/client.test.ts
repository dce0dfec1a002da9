/** The vSphere client against a scripted server: the bytes on the wire, and answers that no simulator gives. */
import { X509Certificate } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { makeCertificates } from '../../../src/cli/certificates.js';
import { withOperation } from '../../../src/common/log.js';
import { VimClient } from '../../../src/vim25/index.js';
import { decodeRequest, encodeFault, encodeResponse, type Request } from '../../../src/vim25/soap-message.js';

interface Seen extends Request {
  headers: Record<string, unknown>;
  text: string;
}

const ref = (type: string, value = type) => ({ type, value });
const SERVICE = ref('ServiceInstance');
const CONTENT = {
  rootFolder: ref('Folder', 'root'),
  propertyCollector: ref('PropertyCollector'),
  sessionManager: ref('SessionManager'),
  about: {
    name: 'test',
    fullName: 'test',
    vendor: 'test',
    version: '1',
    build: '1',
    osType: 'x',
    productLineId: 'x',
    apiType: 'HostAgent',
    apiVersion: '7.0',
  },
};
const USER = {
  key: 'k',
  userName: 'u',
  fullName: 'u',
  loginTime: new Date(),
  lastActiveTime: new Date(),
  locale: 'en',
  messageLocale: 'en',
};

let server: Server;
let thumbprint: string;
let seen: Seen[] = [];
let answer: (request: Seen) => { status?: number; body: string };

beforeAll(async () => {
  const { serverCert, serverKey } = await makeCertificates('localhost', ['127.0.0.1'], 'test');
  thumbprint = new X509Certificate(serverCert).fingerprint;
  server = createServer({ key: serverKey, cert: serverCert }, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const text = Buffer.concat(parts).toString();
      const call = { ...decodeRequest(text), headers: request.headers, text };
      seen.push(call);
      const { status = 200, body } = answer(call);
      response.writeHead(status).end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  seen = [];
  answer = ordinary;
});

const ordinary = ({ operation }: Seen): { status?: number; body: string } => {
  if (operation === 'RetrieveServiceContent') return { body: encodeResponse(operation, CONTENT) };
  if (operation === 'Login') return { body: encodeResponse(operation, USER) };
  if (operation === 'CurrentTime') return { body: encodeResponse(operation, new Date(0)) };
  return { body: encodeResponse(operation, undefined) };
};
const fault = (type: string, elements = {}) => ({ status: 500, body: encodeFault(type, { $type: type, ...elements }) });
const connect = (): Promise<VimClient> =>
  VimClient.connect({
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/sdk`,
    user: 'root & co',
    password: ' <secret> ',
    thumbprint,
  });

it('sends its session, its request and the operation id', async () => {
  const client = await withOperation('op & 7', () => connect());
  expect(seen.map((call) => call.operation)).toEqual(['RetrieveServiceContent', 'Login']);
  expect(seen[1]).toMatchObject({
    target: CONTENT.sessionManager,
    args: { userName: 'root & co', password: ' <secret> ' },
    operationId: 'op & 7',
    headers: { 'vim25-operationid': 'op & 7', soapaction: '"urn:vim25/6.7"' },
  });
  await client.call('CurrentTime', SERVICE, {});
  expect(seen[2]?.operationId).toBeUndefined();
  expect(seen[2]?.text).not.toContain('Header');
  expect(Object.fromEntries(client.calls)).toEqual({ RetrieveServiceContent: 1, Login: 1, CurrentTime: 1 });
  await client.close();
  expect(seen.at(-1)?.operation).toBe('Logout');
});

it('logs in again once for many callers, and gives up if that does not help', async () => {
  const client = await connect();
  let loggedIn = false;
  answer = (request) => {
    if (request.operation === 'Login') loggedIn = true;
    return loggedIn ? ordinary(request) : fault('NotAuthenticated', { object: SERVICE, privilegeId: 'System.View' });
  };
  const calls = Array.from({ length: 5 }, () => client.call('CurrentTime', SERVICE, {}));
  expect(await Promise.all(calls)).toHaveLength(5);
  expect(client.calls.get('Login')).toBe(2);

  answer = (request) =>
    request.operation === 'Login'
      ? ordinary(request)
      : fault('NotAuthenticated', { object: SERVICE, privilegeId: 'x' });
  await expect(client.call('CurrentTime', SERVICE, {})).rejects.toMatchObject({ kind: 'unauthorized' });
  expect(client.calls.get('Login')).toBe(3);
  await client.close();
});

it('distinguishes a broken server from a refusal', async () => {
  const client = await connect();
  for (const [status, body] of [
    [503, 'busy'],
    [200, '<html/>'],
    [500, ''],
    [200, encodeResponse('Logout', undefined)],
    [404, encodeResponse('CurrentTime', new Date())],
  ] as const) {
    answer = () => ({ status, body });
    await expect(client.call('CurrentTime', SERVICE, {})).rejects.toMatchObject({ kind: 'unavailable' });
  }
  answer = () => fault('InvalidArgument', { invalidProperty: 'x' });
  await expect(client.call('CurrentTime', SERVICE, {})).rejects.toMatchObject({
    kind: 'invalid',
    operation: 'CurrentTime',
    fault: { $type: 'InvalidArgument', invalidProperty: 'x' },
  });
  answer = ordinary;
  await client.close();
});

it('asks for further pages, and omits objects that are gone', async () => {
  const client = await connect();
  const gone = ref('VirtualMachine', 'vm-2');
  const object = (id: string) => ({
    obj: ref('VirtualMachine', id),
    propSet: [{ name: 'name', val: `name of ${id}` }],
  });
  answer = (request) => {
    if (request.operation === 'ContinueRetrievePropertiesEx') {
      expect(request.args).toEqual({ token: 'more' });
      return { body: encodeResponse(request.operation, { objects: [object('vm-3')] }) };
    }
    if (request.text.includes('vm-2')) return fault('ManagedObjectNotFound', { obj: gone });
    return { body: encodeResponse(request.operation, { token: 'more', objects: [object('vm-1')] }) };
  };
  const refs = ['vm-1', 'vm-2', 'vm-3'].map((id) => ref('VirtualMachine', id));
  const found = await client.retrieve(refs, 'VirtualMachine', ['name']);
  expect(found.map((one) => one.props.name)).toEqual(['name of vm-1', 'name of vm-3']);
  expect(client.calls.get('RetrievePropertiesEx')).toBe(2);
  answer = ordinary;
  await client.close();
});
