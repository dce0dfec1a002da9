/* Files that the host writes anew in a running container, such as /etc/hosts (rewrite.c). */
#ifndef REWRITE_H
#define REWRITE_H

#include "common.h"

struct container;

/*
 * Writes a file of the container's program anew, in place: whoever has it open sees the new content. What the container's processes have
 * changed in it is merged or left (enum changed). NULL or what failed.
 */
const char *rewrite_file(struct container *c, const char *path, enum changed changed, const char *content);

#endif
