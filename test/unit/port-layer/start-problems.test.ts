/** What is wrong with a process that cannot be started, in Docker's words. */
import { expect, it } from 'vitest';
import { environmentProblem, startError } from '../../../port-layer/exec/run-status.js';

it.each([
  [['A=1', 'a.b-c=1', 'E=', 'N=a\nb', 'NAME', 'X=1=2'], undefined],
  [['A=1', '=x'], `environment variable name can't be empty: "=x"`],
  [['A=a\0b'], `environment variable value can't contain null(\\x00): "A=a\\x00b"`],
])('the environment %j', (env, problem) => {
  expect(environmentProblem(env)).toBe(problem);
});

it('a way to a program that leads through a file has Docker’s hint', () => {
  const words = 'exec: "/a/x": stat /a/x: not a directory';
  expect(startError(127, words).message).toMatch(/: stat \/a\/x: not a directory: Are you trying to mount a directory/);
  expect(startError(128, 'exec: "/l": stat /l: too many levels of symbolic links').message).toMatch(/links$/);
});
