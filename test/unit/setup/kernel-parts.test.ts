import { expect, it } from 'vitest';
import { kernelParts } from '../../../src/setup/boot-image.js';

it.each([
  [
    'Debian 12 and 13',
    'linux-image-6.12.1-cloud-amd64',
    '  Depends: kmod\n  Depends: linux-base\n |Depends: initramfs-tools\n',
    [],
  ],
  [
    'Debian from 7.x on',
    'linux-image-7.2.13+deb14-cloud-amd64',
    '  Depends: linux-base-7.2.13+deb14-cloud-amd64\n  Depends: linux-binary-7.2.13+deb14-cloud-amd64\n  Depends: linux-modules-7.2.13+deb14-cloud-amd64\n',
    ['linux-binary-7.2.13+deb14-cloud-amd64', 'linux-modules-7.2.13+deb14-cloud-amd64'],
  ],
  [
    'Ubuntu',
    'linux-image-6.8.0-31-generic',
    '  Depends: kmod\n  Depends: linux-modules-6.8.0-31-generic\n  Recommends: grub-pc\n',
    ['linux-modules-6.8.0-31-generic'],
  ],
])('the packages of a kernel from %s', (_, image, depends, more) => {
  expect(kernelParts(image, depends)).toEqual([image, ...more]);
});
