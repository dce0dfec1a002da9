/** What is read of the answers of Docker's API. */
import { z } from 'zod';

const words = z.record(z.string(), z.string()).nullish();
const object = z.record(z.string(), z.unknown());

export const volumesAnswer = z.object({
  Volumes: z
    .array(
      z.object({
        Name: z.string(),
        Driver: z.string(),
        Labels: words,
        Options: words,
        /** '': it has no disk. */
        Mountpoint: z.string(),
      }),
    )
    .nullable(),
});

export const containersAnswer = z.array(z.object({ Id: z.string(), State: z.string() }));

export const containerAnswer = z.object({
  Id: z.string(),
  Name: z.string(),
  Image: z.string(),
  State: z.object({ Status: z.string() }),
  Config: object,
  HostConfig: object,
  NetworkSettings: z.object({ Networks: z.record(z.string(), object).nullish() }),
  Mounts: z.array(
    z.object({ Type: z.string(), Name: z.string().optional(), Destination: z.string(), RW: z.boolean() }),
  ),
});
export type ContainerAnswer = z.infer<typeof containerAnswer>;

export const networksAnswer = z.array(object.and(z.object({ Name: z.string(), Driver: z.string() })));

export const imagesAnswer = z.array(
  z.object({
    Id: z.string(),
    RepoTags: z.array(z.string()).nullish(),
    RepoDigests: z.array(z.string()).nullish(),
    Size: z.number(),
  }),
);
export type ImageAnswer = z.infer<typeof imagesAnswer>[number];

export const imageAnswer = z.object({ Id: z.string() });

/** The label of a volume that nobody has named. */
export const ANONYMOUS = 'com.docker.volume.anonymous';
