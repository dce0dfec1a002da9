import { expect, test } from 'vitest';
import { layerProgress, layerStatus, ProgressMeter, progressBar } from '../../../appliance/image/progress.js';
import { humanSize } from '../../../src/common/human-size.js';

// The expected lines were taken from dockerd 28.5.2.
test('lines are byte for byte those of dockerd', () => {
  const digest = `sha256:dbf4acbb564d${'0'.repeat(52)}`;
  expect(JSON.stringify(layerProgress(digest, 'Downloading', 36445, 1081361))).toBe(
    '{"status":"Downloading","progressDetail":{"current":36445,"total":1081361},"progress":"[=>                                                 ]  36.45kB/1.081MB","id":"dbf4acbb564d"}',
  );
  expect(JSON.stringify(layerProgress(digest, 'Extracting', 180, 180))).toBe(
    '{"status":"Extracting","progressDetail":{"current":180,"total":180},"progress":"[==================================================>]     180B/180B","id":"dbf4acbb564d"}',
  );
  expect(JSON.stringify(layerStatus(digest, 'Pull complete'))).toBe(
    '{"status":"Pull complete","progressDetail":{},"id":"dbf4acbb564d"}',
  );
});

test.each([
  [0, '0B'],
  [999, '999B'],
  [1000, '1kB'],
  [32768, '32.77kB'],
  [123_456_789, '123.5MB'],
  [5_000_000_000, '5GB'],
])('%d bytes are %s', (bytes, text) => {
  expect(humanSize(bytes)).toBe(text);
});

test('odd values do not break the bar', () => {
  expect(progressBar(0, 0)).toBe('');
  expect(progressBar(10, 0)).toBe('     10B');
  expect(progressBar(20, 10)).toBe(`[${'='.repeat(50)}>]      20B`);
});

test('a meter reports rarely, but always the end', () => {
  const reports: number[] = [];
  const meter = new ProgressMeter(10_000_000, (current) => reports.push(current));
  for (let done = 0; done <= 10_000_000; done += 1000) meter.update(done);
  expect(reports.at(-1)).toBe(10_000_000);
  expect(reports.length).toBeLessThan(20);
});
