/* What an image has at a volume's mount point, copied into an empty volume on a server (fill_volume.c). */
#ifndef FILL_VOLUME_H
#define FILL_VOLUME_H

struct volume_to_fill {
  const char *root; /* where the container's disk is mounted */
  const char *path; /* the volume's mount point in it */
  const char *at;   /* where the volume is mounted */
};

/*
 * One of several guests does it, and the others wait until it is done. A volume that has something in it, or that cannot be written to, stays
 * as it is; so it does when the image has no directory there. 0 or the errno.
 */
int fill_volume(const struct volume_to_fill *wanted);

#endif
