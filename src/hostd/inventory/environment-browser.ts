/** EnvironmentBrowser: where clients find the host's datastore browser. */
import { SimpleObject } from '../objects/simple-object.js';
import { DATASTORE_BROWSER, ENVIRONMENT_BROWSER } from '../references.js';

export class EnvironmentBrowser extends SimpleObject {
  constructor() {
    super('EnvironmentBrowser', ENVIRONMENT_BROWSER.value, { datastoreBrowser: DATASTORE_BROWSER }, []);
  }
}
