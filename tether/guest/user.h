/* Who a process runs as (user.c). */
#ifndef USER_H
#define USER_H

#include "common.h"

#define MAX_GROUPS 256

struct identity {
  uid_t uid;
  gid_t gid;
  gid_t groups[MAX_GROUPS];
  size_t group_count;
  char home[4096];
};

/*
 * Resolves `text`, which is "", name, uid, name:group or uid:gid, and further `groups`, inside the container's root. False: `problem` says
 * why, in Docker's words.
 */
bool identify(const char *text, char **groups, struct identity *who, char *problem, size_t size);

#endif
