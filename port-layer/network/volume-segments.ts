/**
 * Network segments of shared volumes: port groups without a gateway or uplink, on which there are only the machine that has a volume's disk and
 * its clients. They are no networks of the Docker API. Only the embedded host has them: on another host's switch they would be open to all.
 */

import { isKind } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import { type Attachment, type PortGroups, portGroupsLike, type VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { volumeId } from '../storage/volume-disks.js';

const MAX_NAME = 80;

/** What is needed of them. */
export type Segments = Pick<VolumeSegments, 'attachmentOf' | 'list' | 'add' | 'remove'>;

/** The segments of one virtual container host. */
export class VolumeSegments {
  private places: PortGroups | null = null;

  constructor(
    private readonly client: VimClient,
    private readonly config: Pick<VchConfig, 'id' | 'name' | 'resourcePool' | 'networks'>,
  ) {}

  /** The name of a volume's. It cannot be a network's, whose names begin with the host's and `-`. */
  attachmentOf(volume: string): Attachment {
    const ending = `${this.ending()}${shortId(volumeId(volume))}`;
    return { portGroup: this.config.name.slice(0, MAX_NAME - ending.length) + ending };
  }

  /** Names of all that are there. */
  async list(): Promise<string[]> {
    const own = this.config.name.slice(0, MAX_NAME - this.ending().length - 12) + this.ending();
    return (await (await this.portGroups()).list())
      .map(({ portGroup }) => portGroup)
      .filter((name) => name.startsWith(own) && /^[0-9a-f]{12}$/.test(name.slice(own.length)));
  }

  /** One that is there already is as good. */
  async add(volume: string): Promise<void> {
    const { portGroup: name } = this.attachmentOf(volume);
    const description = `Segment of a shared volume of the virtual container host ${this.config.name}`;
    try {
      await (await this.portGroups()).add({ name, description });
    } catch (error) {
      if (!isKind(error, 'conflict')) throw error;
    }
  }

  /** @param portGroup its name @throws conflict while a machine has a card there */
  async remove(portGroup: string): Promise<void> {
    await (await this.portGroups()).remove({ portGroup });
  }

  private ending(): string {
    return `+${shortId(this.config.id)}+`;
  }

  private async portGroups(): Promise<PortGroups> {
    if (this.places !== null) return this.places;
    const [pool] = await this.client.retrieve([this.config.resourcePool], 'ResourcePool', ['owner']);
    const owner = pool?.props.owner;
    if (owner === undefined) throw new Error('the resource pool has no owner');
    this.places = portGroupsLike(this.client, this.config.networks[0], owner, true);
    return this.places;
  }
}
