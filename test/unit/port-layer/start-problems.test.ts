/** Docker's messages for a process that cannot be started. */
import { expect, it } from 'vitest';
import { dockerMessage } from '../../../appliance/docker/words/docker-message.js';
import { PortLayerError } from '../../../port-layer/errors.js';
import { environmentProblem, notStarted } from '../../../port-layer/exec/run-status.js';

it.each([
  [['A=1', 'a.b-c=1', 'E=', 'N=a\nb', 'NAME', 'X=1=2'], undefined],
  [['A=1', '=x'], `environment variable name can't be empty: "=x"`],
  [['A=a\0b'], `environment variable value can't contain null(\\x00): "A=a\\x00b"`],
])('the environment %j', (env, words) => {
  const problem = environmentProblem(env);
  const said = (of: 'container' | 'exec'): string | undefined =>
    problem && dockerMessage(new PortLayerError('process.badEnvironment', { of, exitCode: 128, ...problem }));
  const unable = 'unable to start container process: ';
  expect(said('exec')).toBe(words && `OCI runtime exec failed: exec failed: ${unable}${words}`);
  expect(said('container')).toBe(
    words &&
      `failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: ${unable}error during container init: ${words}`,
  );
});

it('a program path that leads through a file gives Docker’s hint', () => {
  const said = (code: number, words: string): string => dockerMessage(notStarted('container', code, words));
  expect(said(127, 'exec: "/a/x": stat /a/x: not a directory')).toMatch(
    /: stat \/a\/x: not a directory: Are you trying to mount a directory/,
  );
  expect(said(128, 'exec: "/l": stat /l: too many levels of symbolic links')).toMatch(/links$/);
  expect(said(127, 'mkdir /etc/passwd: not a directory')).toBe('Cannot mkdir: /etc/passwd is not a directory');
  expect(said(126, 'unable to find user x: no matching entries in passwd file')).toMatch(/^unable to find user x/);
});
