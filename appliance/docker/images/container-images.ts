/** Which image a container was made from, and which containers an image has. */
import type { ContainerInfo, ExecService } from '../../../port-layer/index.js';
import type { Image, ImageService } from '../../image/index.js';
import { isUp } from '../containers/container-state.js';

/** A container of an image. */
export interface ImageUser {
  id: string;
  running: boolean;
}

export class ContainerImages {
  constructor(
    private readonly images: Pick<ImageService, 'list' | 'resolve'>,
    private readonly exec: Pick<ExecService, 'list'>,
  ) {}

  /** The image of a container; undefined when it was removed. */
  of(container: ContainerInfo): Image | undefined {
    return this.images.list().find((image) => image.id === container.spec.imageId);
  }

  /** What a row of `ps` calls it: the name that the container was made with while it still means this image, otherwise the id. */
  nameOf({ spec: { imageName, imageId } }: ContainerInfo): string {
    try {
      return this.images.resolve(imageName).id === imageId ? imageName : imageId;
    } catch {
      return imageId;
    }
  }

  usersOf(imageId: string): ImageUser[] {
    return this.exec
      .list()
      .filter((container) => container.spec.imageId === imageId)
      .map((container) => ({ id: container.spec.id, running: isUp(container) }));
  }
}
