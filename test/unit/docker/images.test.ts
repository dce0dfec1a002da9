import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';
import { fakeImage } from '../../support/fake-image-service.js';

let engine: TestEngine;
beforeAll(async () => {
  engine = await startTestEngine();
});
afterAll(() => engine.close());

describe('images', () => {
  it('are listed and filtered', async () => {
    engine.images.registry.set('library/nginx:1', fakeImage('library/nginx:1', { Labels: { tier: 'web' } }));
    await engine.call('POST', '/images/create?fromImage=library/nginx&tag=1');
    const tags = async (filters: object): Promise<string[]> =>
      (
        (await engine.call('GET', `/images/json?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json as {
          RepoTags: string[];
        }[]
      )
        .flatMap(({ RepoTags }) => RepoTags)
        .sort();
    expect(await tags({})).toEqual(['busybox:latest', 'library/nginx:1']);
    expect(await tags({ reference: ['busy*'] })).toEqual(['busybox:latest']);
    expect(await tags({ reference: ['*:1'] })).toEqual([]);
    expect(await tags({ reference: [`${'*a'.repeat(100)}*`, `${'*'.repeat(1000)}!`] })).toEqual([]);
    expect(await tags({ reference: ['*/*:1'] })).toEqual(['library/nginx:1']);
    expect(await tags({ label: ['tier=web'] })).toEqual(['library/nginx:1']);
    // Not a label, but a property of every object.
    expect(await tags({ label: ['constructor'] })).toEqual([]);
    expect(await tags({ dangling: ['true'] })).toEqual([]);
    expect((await engine.call('GET', '/images/json?filters={"foo":["x"]}')).json.message).toBe("invalid filter 'foo'");
    expect((await engine.call('GET', '/images/json?filters={"dangling":["x"]}')).json.message).toBe(
      "invalid filter 'dangling=[x]'",
    );
    expect((await engine.call('GET', '/images/json')).json[0]).toMatchObject({
      Id: expect.stringMatching(/^sha256:/),
      ParentId: '',
      SharedSize: -1,
      Size: 1234,
      Created: 1714557600,
    });
  });

  it('are inspected, also by names with slashes', async () => {
    const { json } = await engine.call('GET', '/v1.51/images/library/nginx:1/json');
    expect(json).toMatchObject({
      RepoTags: ['library/nginx:1'],
      Os: 'linux',
      Architecture: 'amd64',
      Created: '2024-05-01T10:00:00.123456789Z',
      RootFS: { Type: 'layers' },
      Config: { Labels: { tier: 'web' }, Cmd: null },
    });
    expect((await engine.call('GET', '/images/library/nginx:1/history')).json).toMatchObject([
      { Id: json.Id, CreatedBy: 'made for library/nginx:1', Size: 1234, Tags: ['library/nginx:1'] },
    ]);
    expect(await engine.call('GET', '/images/no/such/json')).toMatchObject({
      status: 404,
      json: { message: 'No such image: no/such:latest' },
    });
  });

  it('are pulled with progress messages and the credentials of the request', async () => {
    engine.images.registry.set('p:1', fakeImage('p:1'));
    const auth = Buffer.from(JSON.stringify({ username: 'u', password: 'p' })).toString('base64url');
    const answer = await engine.call('POST', '/images/create?fromImage=p&tag=1&platform=linux/amd64', undefined, {
      'x-registry-auth': auth,
    });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
    expect(
      answer.text
        .split('\r\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).status),
    ).toEqual(['Pulling from p:1', 'Status: Downloaded newer image for p:1']);
    expect(engine.images.pulls.at(-1)).toMatchObject({
      reference: 'p:1',
      options: { auth: { username: 'u', password: 'p' }, platform: 'linux/amd64' },
    });
    const digest = `sha256:${'a'.repeat(64)}`;
    await engine.call('POST', `/images/create?fromImage=p&tag=${digest}`);
    expect(engine.images.pulls.at(-1)?.reference).toBe(`p@${digest}`);
  });

  it('a pull that fails is an error status before the first progress message, and a message after it', async () => {
    expect(await engine.call('POST', '/images/create?fromImage=nosuch&tag=latest')).toMatchObject({
      status: 404,
      json: { message: expect.stringContaining('pull access denied for nosuch') },
    });
    engine.images.registry.set('broken:1', { ...fakeImage('broken:1'), size: -1 });
    const { status, text } = await engine.call('POST', '/v1.51/images/create?fromImage=broken&tag=1');
    expect(status).toBe(200);
    expect(JSON.parse(text.trim().split('\r\n').at(-1)!)).toEqual({
      errorDetail: { message: 'broken in the middle' },
      error: 'broken in the middle',
    });
    expect((await engine.call('POST', '/images/create')).status).toBe(400);
  });

  it('are imported from the body or a URL, with the changes that are asked for', async () => {
    const made = await engine.call(
      'POST',
      '/v1.51/images/create?fromSrc=-&repo=made/here&message=m&changes=ENV%20A=b&changes=CMD%20x&platform=linux/arm64',
      'a tar',
    );
    expect(made).toMatchObject({ status: 200, json: { status: expect.stringMatching(/^sha256:/) } });
    expect(engine.images.imports[0]).toMatchObject({
      config: { Env: ['A=b'], Cmd: ['/bin/sh', '-c', 'x'] },
      comment: 'm',
      platform: { os: 'linux', architecture: 'arm64' },
      reference: { path: 'made/here', tag: 'latest' },
    });
    expect(engine.images.archives[0]!.toString()).toBe('a tar');
    engine.images.downloads.set('http://there/x.tar', Buffer.from('from there'));
    const from = await engine.call('POST', '/v1.51/images/create?fromSrc=there/x.tar');
    const lines = from.text
      .trim()
      .split('\r\n')
      .map((line) => (JSON.parse(line) as { status: string }).status);
    expect(lines.map((line) => line.replace(/^sha256:.*/, 'id'))).toEqual([
      'Downloading from http://there/x.tar',
      'Importing',
      'id',
    ]);
    expect(engine.images.imports[1]).toMatchObject({ comment: 'Imported from there/x.tar', reference: null });
    for (const [query, status] of [
      ['fromSrc=http://there/none', 500],
      ['fromSrc=-&repo=UPPER', 400],
      ['fromSrc=-&changes=NOSUCH%20x', 400],
      ['fromSrc=-&platform=a/b/c/d', 400],
    ])
      expect((await engine.call('POST', `/images/create?${query}`)).status).toBe(status);
  });

  it('are searched for, and looked up in their registry', async () => {
    const one = { description: 'd', stars: 5, official: true, automated: false };
    engine.images.found.push({ name: 'nginx', ...one }, { ...one, name: 'my/nginx', stars: 1, official: false });
    const found = async (query: string): Promise<string[]> =>
      ((await engine.call('GET', `/images/search?${query}`)).json as { name: string }[]).map(({ name }) => name);
    expect((await engine.call('GET', '/images/search?term=nginx&limit=1')).json).toEqual([
      { star_count: 5, is_official: true, name: 'nginx', is_automated: false, description: 'd' },
    ]);
    expect(await found('term=nginx')).toEqual(['nginx', 'my/nginx']);
    expect(await found('term=nginx&filters={"is-official":["false"]}')).toEqual(['my/nginx']);
    expect(await found('term=nginx&filters={"stars":["3"]}')).toEqual(['nginx']);
    for (const [query, message] of [
      ['limit=101', 'limit 101 is outside the range of [1, 100]'],
      ['limit=a', 'invalid limit specified: strconv.Atoi: parsing "a": invalid syntax'],
      ['filters={"nosuch":["a"]}', "invalid filter 'nosuch'"],
      ['filters={"stars":["a"]}', `invalid filter 'stars=a': strconv.Atoi: parsing "a": invalid syntax`],
      ['filters={"is-official":["a"]}', "invalid filter 'is-official=[a]'"],
    ])
      expect(await engine.call('GET', `/images/search?term=x&${query}`)).toMatchObject({
        status: 400,
        json: { message },
      });
    const image = fakeImage('far/away:1');
    engine.images.registry.set('far/away:1', image);
    expect((await engine.call('GET', '/distribution/far/away:1/json')).json).toEqual({
      Descriptor: { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: image.id, size: 3 },
      Platforms: [{ architecture: 'arm', os: 'linux', variant: 'v7' }],
    });
    expect((await engine.call('GET', '/distribution/nosuch/json')).status).toBe(404);
  });

  it('are loaded and saved; a failure is a message of the stream', async () => {
    const loaded = await engine.call('POST', '/v1.51/images/load', 'an archive');
    expect(loaded).toMatchObject({ status: 200, text: '{"stream":"Loaded image: loaded:latest\\n"}\r\n' });
    expect((await engine.call('POST', '/v1.51/images/load?platform={"os":"linux"}', 'x')).status).toBe(400);
    const { id } = engine.images.resolve('p:1');
    for (const path of ['/images/p:1/get', '/images/get?names=p:1'])
      expect(await engine.call('GET', path)).toMatchObject({ status: 200, text: id });
    expect((await engine.call('GET', '/images/get?names=p:1&names=nosuch')).status).toBe(404);
  });

  it('are tagged and removed, but not while a container needs them', async () => {
    expect((await engine.call('POST', '/images/p:1/tag?repo=q&tag=2')).status).toBe(201);
    expect((await engine.call('POST', '/images/nosuch/tag?repo=q')).status).toBe(404);
    await engine.call('POST', '/containers/create?name=user', { Image: 'q:2', Cmd: ['x'] });
    const used = await engine.call('DELETE', '/images/q:2');
    expect(used.status).toBe(409);
    await engine.call('DELETE', '/containers/user');
    expect(await engine.call('DELETE', '/images/q:2')).toMatchObject({
      status: 200,
      json: expect.arrayContaining([{ Untagged: 'q:2' }]),
    });
    expect((await engine.call('POST', '/auth', { username: 'u', password: 'p' })).json).toEqual({
      Status: 'Login Succeeded',
      IdentityToken: '',
    });
  });
});
