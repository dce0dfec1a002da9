/** Somebody without a login can do next to nothing to hostd, and costs it next to nothing. */
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';

let hostd: FakeHostd;
let client: VimClient;
beforeAll(async () => {
  hostd = await startFakeHostd();
  client = await VimClient.connect(hostd);
});
afterAll(async () => {
  await client.close();
  await hostd.stop();
});

/** Sends a SOAP body without a session; or, with `basic`, asks for a file. */
function send(body: string | null, basic?: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const call = request(
      new URL(body === null ? '/folder/x?dcPath=ha-datacenter&dsName=datastore1' : '/sdk', hostd.url),
      {
        method: body === null ? 'GET' : 'POST',
        rejectUnauthorized: false,
        agent: false,
        headers: basic === undefined ? {} : { authorization: `Basic ${Buffer.from(basic).toString('base64')}` },
      },
      async (response) => {
        let text = '';
        for await (const part of response) text += String(part);
        resolve({ status: response.statusCode ?? 0, text });
      },
    );
    call.on('error', reject);
    call.end(
      body === null
        ? undefined
        : `<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>${body}</Body></Envelope>`,
    );
  });
}

const login = (name: string, password = 'wrong'): string =>
  `<Login xmlns="urn:vim25"><_this type="SessionManager">ha-sessionmgr</_this><userName>${name}</userName><password>${password}</password></Login>`;

async function events(type: string): Promise<{ userName: string; fullFormattedMessage: string }[]> {
  const eventManager = { type: 'EventManager', value: 'ha-eventmgr' };
  return (await client.call('QueryEvents', eventManager, { filter: { eventTypeId: [type] } })) as never;
}

test('neither a large message nor one with many elements is parsed', async () => {
  const { text } = await send(login('a'.repeat(100_000)));
  expect(text).toContain('The request is too large');
  expect((await send(login('x').replace('</Login>', `${'<a/>'.repeat(2000)}</Login>`))).text).toContain(
    'XML with more than 1000 elements',
  );
});

test('clients that are logged in may send as much as before', async () => {
  const paths = Array.from({ length: 5000 }, () => 'name');
  const folder = { type: 'Folder', value: 'ha-folder-root' };
  const specSet = [{ propSet: [{ type: 'Folder', pathSet: paths }], objectSet: [{ obj: folder }] }];
  const collector = { type: 'PropertyCollector', value: 'ha-property-collector' };
  const answer = await client.call('RetrieveProperties', collector, { specSet } as never);
  expect(answer).toHaveLength(1);
});

test('failed logins are answered one at a time, however they come in; a correct one is not held up', async () => {
  const answered: number[] = [];
  const started = performance.now();
  const attempts = [
    ...Array.from({ length: 4 }, (_, i) => send(login(`stranger${i}`))),
    ...Array.from({ length: 4 }, () => send(null, 'root:guess')),
  ].map((attempt) =>
    attempt.then(({ status }) => {
      answered.push(performance.now() - started);
      return status;
    }),
  );
  const right = await VimClient.connect(hostd);
  expect(answered.length).toBeLessThan(8);
  await right.close();
  expect(await Promise.all(attempts)).toEqual([500, 500, 500, 500, 401, 401, 401, 401]);
  // Eight times the time of one failure: a busy machine only makes it longer.
  expect(Math.max(...answered)).toBeGreaterThan(8 * 290);
});

test('too many logins at once are turned away', async () => {
  const attempts = await Promise.all(Array.from({ length: 60 }, () => send(login('x'))));
  expect(attempts.filter(({ text }) => text.includes('Too many logins have failed lately')).length).toBeGreaterThan(0);
});

test('nothing that a stranger sends is stored, and little is revealed', async () => {
  await send(login('a-name-to-be-found'));
  const told = await events('BadUsernameSessionEvent');
  expect(told.length).toBeGreaterThan(0);
  expect(told.length).toBeLessThan(3);
  expect(JSON.stringify(told)).not.toMatch(/a-name-to-be-found|stranger/);
});

test('a logout without a login has no effect', async () => {
  const before = (await events('UserLogoutSessionEvent')).length;
  await send('<Logout xmlns="urn:vim25"><_this type="SessionManager">ha-sessionmgr</_this></Logout>');
  await sleep(50);
  expect(await events('UserLogoutSessionEvent')).toHaveLength(before);
});
