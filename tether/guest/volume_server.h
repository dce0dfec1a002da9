/*
 * Serves a container's volume to other machines, by the kernel's NFS server in a hidden network namespace (volume_server.c). For each volume
 * a child keeps the namespace and does what the daemons of an NFS server do elsewhere (nfs_server.c); the tether passes requests on to it.
 */
#ifndef VOLUME_SERVER_H
#define VOLUME_SERVER_H

#include "buffer.h"

struct container;

/* A message of those about served volumes. It is answered when it is done. */
void volume_server_message(struct container *c, enum message type, uint32_t id, struct reader *payload);
/* To poll for answers of the children; -1: nothing is served. */
int volume_server_fd(void);
void volume_server_look(void);
/* A child of the tether has ended. */
void volume_server_ended(pid_t pid);
/* Stops all servers of a container, whose disks cannot be unmounted before. */
void volume_server_end_all(const struct container *c);

#endif
