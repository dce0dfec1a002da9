/* The child that runs the kernel's NFS server for one volume (nfs_server.c), and its part of the conversation with the tether. */
#ifndef NFS_SERVER_H
#define NFS_SERVER_H

#include "hidden_net.h"

struct container;

/* What the tether asks of the child, and its answers: packets of a socket, whose text is the address of a client, or what failed. */
enum nfs_wish { NFS_ASSURE /* that it serves */, NFS_FORGET /* a client */, NFS_STOP };
struct nfs_request {
  uint32_t request;
  enum nfs_wish wish;
  char address[64];
};
struct nfs_answer {
  uint32_t request;
  enum nfs_wish wish;
  char failed[200]; /* '': nothing */
};

struct nfs_task {
  const struct container *container;
  const char *path; /* where the volume is mounted */
  int namespace, socket;
  struct hidden_card card;
  char **clients; /* of the server before this one: the MAC addresses of their cards */
};

/* Serves until it is told to stop; it answers no request before it serves. Called in a child, and ends it. */
void __attribute__((noreturn)) nfs_server_run(const struct nfs_task *task);

#endif
