/** The type of `HostConfig.Mounts`. */
import { z } from 'zod';
import { goType } from '../../../../src/common/go-json.js';
import { bool, named, text, whole, words } from '../../values/go-fields.js';

export const mountSchema = goType(
  'mount.Mount',
  z.object({
    Type: named('mount.Type'),
    Source: text,
    Target: text,
    ReadOnly: bool,
    Consistency: named('mount.Consistency'),
    BindOptions: goType(
      'mount.BindOptions',
      z.object({
        Propagation: named('mount.Propagation'),
        NonRecursive: bool,
        CreateMountpoint: bool,
        ReadOnlyNonRecursive: bool,
        ReadOnlyForceRecursive: bool,
      }),
    ).nullish(),
    ImageOptions: goType('mount.ImageOptions', z.object({ Subpath: text })).nullish(),
    VolumeOptions: goType(
      'mount.VolumeOptions',
      z.object({
        NoCopy: bool,
        Labels: words,
        DriverConfig: goType('mount.Driver', z.object({ Name: text, Options: words })).nullish(),
        Subpath: text,
      }),
    ).nullish(),
    TmpfsOptions: goType(
      'mount.TmpfsOptions',
      z.object({
        SizeBytes: whole,
        Mode: goType('os.FileMode', z.number().max(0o7777)).nullish(),
        Options: z.array(z.array(z.string())).nullish(),
      }),
    ).nullish(),
    ClusterOptions: goType('mount.ClusterOptions', z.object({})).nullish(),
  }),
);

/** One of `HostConfig.Mounts`. */
export type MountRequest = z.infer<typeof mountSchema>;
