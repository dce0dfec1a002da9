/*
 * What the kernel's NFS server asks about its clients (nfs_clients.c): it wants them kept, and told when it begins, so that those of a server
 * before it can take back what they had open and locked. The format is that of linux/nfsd/cld.h; nfsdcld answers elsewhere. Here nothing is
 * kept: the host knows which machines have mounted the volume.
 */
#ifndef NFS_CLIENTS_H
#define NFS_CLIENTS_H

#include "common.h"

/* Answers what can be read. `former`: the MAC addresses of the cards of clients of the server before this one; NULL: none. */
void nfs_clients_answer(int pipe, char **former);
/* Whether it has asked which clients there were. If it has not, it takes none back. */
bool nfs_clients_told(void);

#endif
