/** Use cases do not depend on HTTP: only the edge knows requests and answers, and only it knows the whole engine. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const DOCKER = join(import.meta.dirname, '../../../appliance/docker');

/** Files that may know HTTP. */
const EDGE = /^http\/|-routes\.ts$|^routes\.ts$|^server\.ts$/;
/** What the views of answers may use of `http/`: they depend on the version of the API. */
const FOR_VIEWS = /\/http\/api-version\.js$/;
/** Files that may know the whole engine. */
const WHOLE = /^engine\.ts$|^routes\.ts$|^server\.ts$/;

const files = readdirSync(DOCKER, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({
    file,
    imports: [...readFileSync(join(DOCKER, file), 'utf8').matchAll(/\bfrom '([^']+)'/g)].map(([, from]) => from!),
  }));

test('only routes and http/ know requests and answers', () => {
  const wrong = files
    .filter(({ file }) => !EDGE.test(file))
    .flatMap(({ file, imports }) =>
      imports
        .filter((from) => from === 'express' || (/\/http\//.test(from) && !FOR_VIEWS.test(from)))
        .map((from) => `${file} → ${from}`),
    );
  expect(wrong).toEqual([]);
});

test('each part takes only what it needs, not the whole engine', () => {
  const wrong = files.filter(
    ({ file, imports }) => !WHOLE.test(file) && imports.some((from) => /\/engine\.js$/.test(from)),
  );
  expect(wrong.map(({ file }) => file)).toEqual([]);
});
