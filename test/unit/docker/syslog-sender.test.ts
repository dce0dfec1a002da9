/** Sending to real syslog servers of every kind, on loopback. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { syslogSettings } from '../../../appliance/docker/logging/syslog-options.js';
import { openSyslog } from '../../../appliance/docker/logging/syslog-sender.js';
import type { SyslogGrants } from '../../../port-layer/config.js';
import { type CertificateSet, makeCertificates } from '../../../src/cli/certificates.js';
import { messageOf } from '../../../src/common/errors.js';

let directory: string;
let own: CertificateSet;
let foreign: CertificateSet;
const file = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-syslog-'));
  own = await makeCertificates('localhost', ['127.0.0.1'], 'Own');
  foreign = await makeCertificates('example.org', [], 'Foreign');
  const files = {
    'ca.pem': own.ca,
    'foreign-ca.pem': foreign.ca,
    'cert.pem': own.clientCert,
    'key.pem': own.clientKey,
    'none.pem': 'nothing',
  };
  grants = {
    sockets: [],
    files: Object.fromEntries(Object.entries(files).map(([name, text]) => [file(name), text])),
  };
});

afterAll(() => rmSync(directory, { recursive: true }));

/** A server that records what it receives. */
class Receiver {
  text = '';
  private readonly sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {
    const add = (socket: Socket): void => {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('data', (data: Buffer) => {
        this.text += data.toString();
      });
    };
    server.on('tlsClientError', () => undefined);
    server.on(server.listenerCount('secureConnection') > 0 ? 'secureConnection' : 'connection', add);
  }

  static async listen(where: number | string, tls?: TlsOptions): Promise<Receiver> {
    const server = tls === undefined ? createServer() : createTlsServer(tls, () => undefined);
    const receiver = new Receiver(server);
    if (typeof where === 'number') server.listen(where, '127.0.0.1');
    else server.listen(where);
    await once(server, 'listening');
    return receiver;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** What the machine's owner has granted. */
let grants: SyslogGrants;
const open = (address: string, options: Record<string, string> = {}) =>
  openSyslog(syslogSettings({ 'syslog-address': address, ...options }, grants));

const refusal = async (address: string, options: Record<string, string> = {}): Promise<string> => {
  try {
    (await open(address, options)).close();
    return 'none';
  } catch (error) {
    return messageOf(error);
  }
};

it('sends datagrams', async () => {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const received = once(socket, 'message');
  const sender = await open(`udp://127.0.0.1:${socket.address().port}`);
  await sender.send(Buffer.from('one\n'));
  sender.close();
  expect(String((await received)[0])).toBe('one\n');
  socket.close();
});

describe.each(['tcp', 'unix', 'tcp+tls'])('%s', (scheme) => {
  const where = (): number | string => (scheme === 'unix' ? file('socket') : 0);
  const tls = (): TlsOptions | undefined =>
    scheme === 'tcp+tls' ? { cert: own.serverCert, key: own.serverKey } : undefined;
  const address = (receiver: Receiver): string =>
    scheme === 'unix' ? `unix://${file('socket')}` : `${scheme}://127.0.0.1:${receiver.port}`;
  const options = (): Record<string, string> => (scheme === 'tcp+tls' ? { 'syslog-tls-ca-cert': file('ca.pem') } : {});

  it('sends everything, and continues after a restart of the server', async () => {
    const first = await Receiver.listen(where(), tls());
    const sender = await open(address(first), options());
    const big = `${'x'.repeat(500_000)}\n`;
    await sender.send(Buffer.from('one\n'));
    await sender.send(Buffer.from(big));
    await expect.poll(() => first.text).toBe(`one\n${big}`);
    const place = scheme === 'unix' ? where() : first.port;
    await first.close();
    // No server is there, so the line is reported and dropped.
    await expect.poll(() => sender.send(Buffer.from('lost\n')).then(() => true)).toBe(true);
    const second = await Receiver.listen(place, tls());
    await expect
      .poll(async () => {
        await sender.send(Buffer.from('two\n'));
        return second.text;
      })
      .toContain('two\n');
    sender.close();
    expect(second.text).not.toContain('lost');
    await second.close();
  });
});

describe('TLS', () => {
  it.each([
    ['own', {}, 'certificate signed by unknown authority'],
    ['own', { 'syslog-tls-ca-cert': 'foreign-ca.pem' }, 'certificate signed by unknown authority'],
    [
      'foreign',
      { 'syslog-tls-ca-cert': 'foreign-ca.pem' },
      "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
    ],
  ])('refuses the %s server with %j', async (which, given, message) => {
    const { serverCert, serverKey } = which === 'own' ? own : foreign;
    const receiver = await Receiver.listen(0, { cert: serverCert, key: serverKey });
    const options = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, file(value)]));
    const address = `tcp+tls://127.0.0.1:${receiver.port}`;
    expect(await refusal(address, options)).toBe(`tls: failed to verify certificate: x509: ${message}`);
    expect(await refusal(address, { ...options, 'syslog-tls-skip-verify': 'false' })).toBe('none');
    await receiver.close();
  });

  it('checks names', async () => {
    const receiver = await Receiver.listen(0, { cert: foreign.serverCert, key: foreign.serverKey });
    expect(
      await refusal(`tcp+tls://localhost:${receiver.port}`, { 'syslog-tls-ca-cert': file('foreign-ca.pem') }),
    ).toBe('tls: failed to verify certificate: x509: certificate is valid for example.org, not localhost');
    await receiver.close();
  });

  it('presents its own certificate where the server wants one', async () => {
    const { serverCert: cert, serverKey: key, ca } = own;
    const receiver = await Receiver.listen(0, { cert, key, ca, requestCert: true, rejectUnauthorized: true });
    const sender = await open(`tcp+tls://127.0.0.1:${receiver.port}`, {
      'syslog-tls-ca-cert': file('ca.pem'),
      'syslog-tls-cert': file('cert.pem'),
      'syslog-tls-key': file('key.pem'),
    });
    await sender.send(Buffer.from('known\n'));
    await expect.poll(() => receiver.text).toBe('known\n');
    sender.close();
    await receiver.close();
  });

  it.each([
    [
      { 'syslog-tls-ca-cert': '/nosuch' },
      'could not read CA certificate "/nosuch": open /nosuch: no such file or directory',
    ],
    [{ 'syslog-tls-ca-cert': 'none.pem' }, 'failed to append certificates from PEM file: "'],
    [{ 'syslog-tls-cert': '/nosuch' }, 'Could not load X509 key pair: open /nosuch: no such file or directory'],
    [{ 'syslog-tls-cert': 'cert.pem' }, 'Could not load X509 key pair: open : no such file or directory'],
    [{ 'syslog-tls-cert': 'cert.pem', 'syslog-tls-key': 'ca.pem' }, 'Could not load X509 key pair: tls: '],
  ])('with invalid files: %j', async (given, message) => {
    const options = Object.fromEntries(
      Object.entries(given).map(([name, value]) => [name, value.startsWith('/') ? value : file(value)]),
    );
    expect(await refusal('tcp+tls://127.0.0.1:9', options)).toContain(message);
  });
});

it.each([
  ['tcp://127.0.0.1:PORT', 'dial tcp 127.0.0.1:PORT: connect: connection refused'],
  ['tcp+tls://127.0.0.1:PORT', 'dial tcp 127.0.0.1:PORT: connect: connection refused'],
  ['tcp://127.0.0.1:70000', 'dial tcp: address 70000: invalid port'],
  ['udp://127.0.0.1:70000', 'dial udp: address 70000: invalid port'],
  ['unix:///nosuch', 'Unix syslog delivery error'],
])('%s cannot be connected to', async (address, message) => {
  const receiver = await Receiver.listen(0);
  const port = String(receiver.port);
  await receiver.close();
  expect(await refusal(address.replace('PORT', port))).toBe(message.replace('PORT', port));
});
