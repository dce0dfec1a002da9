/** The fake port layer fulfils the contract. */
import { portLayerContract } from '../../contract/port-layer-contract.js';
import { FakePortLayer } from '../../support/fake-port-layer.js';

portLayerContract(async () => {
  const portLayer = new FakePortLayer();
  return { portLayer, layer: null, close: () => portLayer.close() };
});
