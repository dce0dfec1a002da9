/** `POST /commit`, and the instructions of `--change`. The answers are those of Docker Engine to the same requests. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DockerConfig } from '../../../appliance/docker/containers/config/docker-config.js';
import { applyChanges } from '../../../appliance/docker/images/commit-changes.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';

const CONFIG: DockerConfig = {
  Hostname: 'box',
  Domainname: '',
  User: '',
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Env: ['PATH=/bin', 'PRE=x'],
  Cmd: ['true'],
  Image: 'busybox',
  Volumes: null,
  WorkingDir: '/work/dir',
  Entrypoint: null,
  OnBuild: null,
  Labels: { own: '1' },
};

describe('changes', () => {
  it.each<[string, Partial<DockerConfig>]>([
    ['CMD ["echo","hi"]', { Cmd: ['echo', 'hi'] }],
    ['CMD echo hi', { Cmd: ['/bin/sh', '-c', 'echo hi'] }],
    ['CMD', { Cmd: ['/bin/sh', '-c'] }],
    ['cmd x', { Cmd: ['/bin/sh', '-c', 'x'] }],
    ['ENTRYPOINT ["/bin/sh"]', { Entrypoint: ['/bin/sh'], Cmd: null }],
    ['CMD a\nENTRYPOINT ["b"]', { Entrypoint: ['b'], Cmd: ['/bin/sh', '-c', 'a'] }],
    ['ENV A=b C="d e" E=a\\ b', { Env: ['PATH=/bin', 'PRE=x', 'A=b', 'C=d e', 'E=a b'] }],
    ['ENV A b  c', { Env: ['PATH=/bin', 'PRE=x', 'A=b  c'] }],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of a Dockerfile
    ['ENV PATH=$PATH:/x D=${PRE}-${NONE:-z}${PRE:+y}', { Env: ['PATH=/bin:/x', 'PRE=x', 'D=x-zy'] }],
    ['ENV S=\'$PRE\' Q="\\$PRE"', { Env: ['PATH=/bin', 'PRE=x', 'S=$PRE', 'Q=$PRE'] }],
    ['LABEL k=v "quoted key"="v w"', { Labels: { own: '1', k: 'v', 'quoted key': 'v w' } }],
    ['EXPOSE 80/tcp 81 90-91/UDP', { ExposedPorts: { '80/tcp': {}, '81/tcp': {}, '90/udp': {}, '91/udp': {} } }],
    ['VOLUME /data /more', { Volumes: { '/data': {}, '/more': {} } }],
    ['VOLUME ["/a b"]', { Volumes: { '/a b': {} } }],
    ['WORKDIR sub', { WorkingDir: '/work/dir/sub' }],
    ['WORKDIR /a/../b/', { WorkingDir: '/b' }],
    ['USER 5:$PRE', { User: '5:x' }],
    ['STOPSIGNAL SIGINT', { StopSignal: 'SIGINT' }],
    ['ONBUILD RUN true', { OnBuild: ['RUN true'] }],
    ['HEALTHCHECK NONE', { Healthcheck: { Test: ['NONE'] } }],
    [
      'HEALTHCHECK --interval=5s --timeout=1m30s --retries=2 CMD true',
      { Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 5e9, Timeout: 90e9, Retries: 2 } },
    ],
    ['# nothing\n\nUSER \\\n7', { User: '7' }],
  ])('%s', (change, expected) => expect(applyChanges(CONFIG, [change])).toEqual({ ...CONFIG, ...expected }));

  it.each([
    ['FOO bar', 'FOO is not a valid change command'],
    ['RUN x', 'RUN is not a valid change command'],
    ['constructor x', 'CONSTRUCTOR is not a valid change command'],
    ['ENV A', 'ENV must have two arguments'],
    ['ENV', 'ENV requires at least one argument'],
    ['LABEL a', 'LABEL must have two arguments'],
    ['USER', 'USER requires exactly one argument'],
    ['EXPOSE abc', 'Invalid containerPort: abc'],
    ['EXPOSE 70000', 'Invalid containerPort: 70000'],
    ['EXPOSE 80/foo', 'Invalid proto: foo'],
    ['STOPSIGNAL FOO', 'invalid signal: FOO'],
    ['VOLUME []', 'VOLUME requires at least one argument'],
    ['CMD ["a", 1]', 'when using JSON array syntax, arrays must be comprised of strings only'],
    ['HEALTHCHECK --x=1 CMD a', 'unknown flag: --x'],
    ['HEALTHCHECK NONE x', 'HEALTHCHECK NONE takes no arguments'],
    ['ONBUILD FROM a', "FROM isn't allowed as an ONBUILD trigger"],
  ])('%s is refused', (change, message) => expect(() => applyChanges(CONFIG, [change])).toThrow(message));

  it('does not modify its input', () => {
    const before = structuredClone(CONFIG);
    applyChanges(CONFIG, ['ENV X=y\nLABEL a=b', 'VOLUME /x']);
    expect(CONFIG).toEqual(before);
  });
});

describe('POST /commit', () => {
  let engine: TestEngine;
  beforeAll(async () => {
    engine = await startTestEngine();
    await engine.call('POST', '/containers/create?name=box', {
      Image: 'busybox',
      Cmd: ['sleep', '9'],
      Env: ['OWN=1'],
      ExposedPorts: { '1/tcp': {} },
    });
  });
  afterAll(() => engine?.close());

  it('makes an image of the container’s configuration and the changes', async () => {
    const query =
      'container=box&repo=made&tag=one&author=a%20b&comment=c&changes=ENV%20A=1&changes=CMD%20%5B%22x%22%5D';
    const answer = await engine.call('POST', `/commit?${query}`);
    expect(answer).toMatchObject({ status: 201, json: { Id: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) } });
    const made = engine.images.commits.pop();
    expect(made).toMatchObject({
      author: 'a b',
      comment: 'c',
      createdBy: 'sleep 9',
      reference: { path: 'library/made', tag: 'one' },
      config: { Cmd: ['x'], Env: expect.arrayContaining(['OWN=1', 'A=1']) },
      fields: { container_config: { Cmd: ['sleep', '9'] } },
    });
  });

  it('takes the configuration from the request, and fills it in from the container', async () => {
    await engine.call('POST', '/commit?container=box', {
      Env: ['Z=1'],
      Labels: { q: 'r' },
      ExposedPorts: { '9/tcp': {} },
    });
    expect(engine.images.commits.pop()?.config).toMatchObject({
      Env: expect.arrayContaining(['Z=1', 'OWN=1']),
      Cmd: ['sleep', '9'],
      Labels: { q: 'r' },
      ExposedPorts: { '1/tcp': {}, '9/tcp': {} },
    });
  });

  it.each([
    ['container=nosuch', 404, 'No such container: nosuch'],
    ['', 400, 'invalid name or ID supplied: ""'],
    ['container=box&repo=BAD', 400, 'invalid reference format: repository name (library/BAD) must be lowercase'],
    ['container=box&changes=RUN%20x', 400, 'RUN is not a valid change command'],
  ])('%s is refused', async (query, status, message) => {
    expect(await engine.call('POST', `/commit?${query}`)).toMatchObject({ status, json: { message } });
  });
});
