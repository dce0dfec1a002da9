/** Every operation that hostd implements has a rule for who may call it; adding one without a rule fails here. */
import { beforeAll, expect, test } from 'vitest';
import { ruleOf } from '../../../src/hostd/access/operation-rules.js';
import { PRIVILEGES } from '../../../src/hostd/access/roles.js';
import { implementedOperations } from '../../support/operations.js';

let implemented: [type: string, operation: string][];
beforeAll(async () => {
  implemented = await implementedOperations();
});

test('the implemented operations are found', () => {
  const operations = new Set(implemented.map(([, operation]) => operation));
  expect(operations.size).toBeGreaterThan(70);
  for (const operation of ['PowerOnVM_Task', 'MakeDirectory', 'CreateUser', 'ReadNextEvents', 'ModifyListView'])
    expect(operations).toContain(operation);
});

test('every implemented operation has a rule', () => {
  expect(implemented.filter(([type, operation]) => ruleOf(type, operation) === undefined)).toEqual([]);
});

test('rules only require privileges that roles can have', () => {
  const asked = implemented.flatMap(([type, operation]) => {
    const rule = ruleOf(type, operation);
    return rule === undefined ? [] : [rule.privilege, ...Object.values(rule.arguments ?? {})];
  });
  expect(asked.filter((privilege) => !PRIVILEGES.includes(privilege))).toEqual([]);
});
