import { expect, it } from 'vitest';
import { SessionInput } from '../../../tether/protocol/session-input.js';

const WINDOW = 1000;

function input(): { input: SessionInput; sent: () => number; hold: (holding: boolean) => void } {
  let [sent, holding] = [0, false];
  const waiting: (() => void)[] = [];
  const sender = {
    send: (_type: number, payload?: Buffer) => {
      sent += payload?.length ?? 0;
    },
    whenTaken: (go: () => void) => void (holding ? waiting.push(go) : go()),
  };
  return {
    input: new SessionInput(sender, WINDOW, WINDOW),
    sent: () => sent,
    hold: (now) => {
      holding = now;
      if (!now) for (const go of waiting.splice(0)) go();
    },
  };
}

it('a grant while input waits is valid, even when it is used up at once', () => {
  const one = input();
  one.input.write(Buffer.alloc(5 * WINDOW));
  expect(one.sent()).toBe(WINDOW);
  for (let granted = 0; granted < 4; granted++) expect(one.input.grant(WINDOW)).toBe(true);
  expect(one.sent()).toBe(5 * WINDOW);
});

it('a grant beyond the window changes nothing', () => {
  const one = input();
  expect(one.input.grant(1)).toBe(false);
  one.input.write(Buffer.alloc(10));
  expect(one.input.grant(2 ** 32 - 1)).toBe(true);
  expect(one.input.grant(1)).toBe(false);
  one.input.write(Buffer.alloc(5 * WINDOW));
  expect(one.sent()).toBe(WINDOW + 10);
});

it('nothing is sent to a machine on hold, whatever its guest grants', () => {
  const one = input();
  one.hold(true);
  one.input.write(Buffer.alloc(5 * WINDOW));
  expect(one.input.grant(WINDOW)).toBe(true);
  expect(one.sent()).toBe(WINDOW);
  one.hold(false);
  expect(one.sent()).toBe(2 * WINDOW);
});
