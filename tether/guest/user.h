/* Who a process runs as. */
#ifndef USER_H
#define USER_H

#include "tether.h"

#define MAX_GROUPS 256

struct identity {
  uid_t uid;
  gid_t gid;
  gid_t groups[MAX_GROUPS];
  size_t group_count;
  char home[4096];
};

/* `text`: "", name, uid, name:group, uid:gid. False: `problem` says why, in Docker's words. Runs in the container's root. */
bool identify(const char *text, char **groups, struct identity *who, char *problem, size_t size);

#endif
