/** The compatibility table matches the accepted differences. */
import { expect, it } from 'vitest';
import { compatibilityDocument } from '../../differential/compatibility.js';

it('docs/COMPATIBILITY.md is up to date', async () => {
  await expect(compatibilityDocument()).toMatchFileSnapshot('../../../docs/COMPATIBILITY.md');
});
