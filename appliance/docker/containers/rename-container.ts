/** `docker rename`, without HTTP. */
import type { ExecService } from '../../../port-layer/index.js';
import { CaissonError, invalid, kindOf } from '../../../src/common/errors.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import type { Names } from '../networks/names-feed.js';
import { dockerMessage } from '../words/docker-message.js';
import { checkContainerName } from './config/container-spec.js';

export interface RenameParts {
  exec: Pick<ExecService, 'rename' | 'resolve'>;
  publish: PublishContainerEvent;
  names: Pick<Names, 'follow'>;
}

/** @throws invalid, conflict, notFound in Docker's words */
export async function renameContainer(
  { exec, publish, names }: RenameParts,
  reference: string,
  given: string,
): Promise<void> {
  const { spec } = exec.resolve(reference);
  const name = given.replace(/^\//, '');
  if (given === '') throw invalid('Neither old nor new names may be empty');
  if (name === spec.name) throw invalid('Renaming a container with the same name as its current name');
  try {
    await exec.rename(spec.id, checkContainerName(`/${name}`));
  } catch (error) {
    throw new CaissonError(kindOf(error), `Error when allocating new name: ${dockerMessage(error)}`, { cause: error });
  }
  await names.follow();
  publish(exec.resolve(spec.id), 'rename', { oldName: `/${spec.name}` });
}
