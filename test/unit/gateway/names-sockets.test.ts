import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { listen } from '../../../appliance/gateway/names/sockets.js';
import { freePort } from '../../support/stack.js';

it('the relay can answer for a server outside from that server’s address and the same port', async () => {
  const port = await freePort();
  const server = await listen({ answer: async () => null } as never, [{ address: '0.0.0.0', port }]);
  // As the relay does it, with an address that is not the gateway's.
  const relay = createSocket({ type: 'udp4', reuseAddr: true });
  try {
    relay.bind(port, '127.0.0.2');
    await once(relay, 'listening');
    expect(relay.address().address).toBe('127.0.0.2');
  } finally {
    relay.close();
    server.close();
  }
});
