/** The port layer fulfils the contract over a host with real VMs. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { openPortLayer } from '../../port-layer/index.js';
import { startHostdProcess } from '../../src/cli/hostd-process.js';
import { removeEngine } from '../../src/cli/stop-engine.js';
import { createVch, powerOffVch } from '../../src/cli/vch.js';
import { instancePaths } from '../../src/common/paths.js';
import { VimClient } from '../../src/vim25/index.js';
import { portLayerContract } from '../contract/port-layer-contract.js';
import { expectNoneRefused, refusedSoFar } from '../support/refused-calls.js';
import { busyboxTar } from '../support/vm-lab.js';

const LAYER = `sha256:${'1'.repeat(64)}`;

portLayerContract(async () => {
  const paths = instancePaths(mkdtempSync(join(tmpdir(), 'caisson-contract-')));
  const hostd = await startHostdProcess(paths, '127.0.0.1:0', ['--warm-pool', '1']);
  const client = await VimClient.connect(hostd);
  const vch = await createVch(
    client,
    {
      name: 'contract',
      login: hostd,
      imageStore: { datastore: 'datastore1', path: '' },
      networks: [{ name: 'bridge', portGroup: 'contract', subnet: '172.16.0.0/16' }],
      listen: [],
      registry: { mirrors: [], insecure: [], certificateAuthorities: [] },
      container: { cpus: 1, memoryMiB: 128, baseImageSizeGiB: 1 },
      channelDir: join(paths.runDir, 'vch', 'contract'),
    },
    () => undefined,
  );
  // This process takes its place.
  await powerOffVch(client, vch);
  const portLayer = await openPortLayer(vch.config);
  const tar = Readable.from([await busyboxTar()], { objectMode: false });
  await portLayer.layers.write({ chainId: LAYER, parent: null, diffId: LAYER }, tar, { verify: async () => undefined });
  return {
    portLayer,
    layer: LAYER,
    async close() {
      await portLayer.close();
      await client.close();
      const refused = await refusedSoFar(paths.stateDir);
      await removeEngine(paths);
      expectNoneRefused(refused);
    },
  };
});
