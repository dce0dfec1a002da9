/* Who a process runs as: resolved with the container's own /etc/passwd and /etc/group, in Docker's words. */
#include "user.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_ID 0x7fffffffL

/* Whether it is a number at all, as Go's strconv.Atoi has it; one that is too large stays too large for an id. */
static bool number(const char *text, long *value) {
  const char *digits = text + (*text == '-' || *text == '+');
  if (*digits == 0 || strspn(digits, "0123456789") != strlen(digits)) return false;
  *value = strtol(text, NULL, 10);
  return true;
}

static bool in_range(long value, char *problem, size_t size) {
  if (value >= 0 && value <= LARGEST_ID) return true;
  snprintf(problem, size, "uids and gids must be in range 0-%ld", LARGEST_ID);
  return false;
}

static void add_group(struct identity *who, gid_t group) {
  for (size_t i = 0; i < who->group_count; i++)
    if (who->groups[i] == group) return;
  if (who->group_count < MAX_GROUPS) who->groups[who->group_count++] = group;
}

/* Finds a group by name or number. False: `problem` says why. */
static bool find_group(const char *text, gid_t *group, char *problem, size_t size) {
  long value;
  if (number(text, &value)) {
    *group = (gid_t)value;
    return in_range(value, problem, size);
  }
  FILE *file = fopen("/etc/group", "re");
  bool found = false;
  for (struct group *g; file != NULL && !found && (g = fgetgrent(file)) != NULL;) {
    found = strcmp(g->gr_name, text) == 0;
    if (found) *group = g->gr_gid;
  }
  if (file != NULL) fclose(file);
  if (!found) snprintf(problem, size, "unable to find group %s: no matching entries in group file", text);
  return found;
}

static bool is_member(const struct group *g, const char *name) {
  for (char **m = g->gr_mem; m != NULL && *m != NULL; m++)
    if (strcmp(*m, name) == 0) return true;
  return false;
}

static void add_memberships(struct identity *who, const char *name) {
  FILE *file = fopen("/etc/group", "re");
  for (struct group *g; file != NULL && (g = fgetgrent(file)) != NULL;)
    if (is_member(g, name)) add_group(who, g->gr_gid);
  if (file != NULL) fclose(file);
}

bool identify(const char *text, char **groups, struct identity *who, char *problem, size_t size) {
  char given[256], name[256] = "";
  snprintf(given, sizeof given, "%s", text);
  char *group = strchr(given, ':');
  if (group != NULL) *group++ = 0;
  const char *user = *given == 0 ? "0" : given;
  snprintf(who->home, sizeof who->home, "/");
  long value;
  bool numeric = number(user, &value), found = false;
  FILE *file = fopen("/etc/passwd", "re");
  for (struct passwd *p; file != NULL && !found && (p = fgetpwent(file)) != NULL;) {
    if (numeric ? (long)p->pw_uid != value : strcmp(p->pw_name, user) != 0) continue;
    found = true;
    who->uid = p->pw_uid;
    who->gid = p->pw_gid;
    snprintf(name, sizeof name, "%s", p->pw_name);
    snprintf(who->home, sizeof who->home, "%s", p->pw_dir);
  }
  if (file != NULL) fclose(file);
  if (!found && !numeric) {
    snprintf(problem, size, "unable to find user %s: no matching entries in passwd file", user);
    return false;
  }
  if (!found) {
    if (!in_range(value, problem, size)) return false;
    who->uid = (uid_t)value;
  }
  if (group != NULL && *group != 0) {
    if (!find_group(group, &who->gid, problem, size)) return false;
  } else if (found) {
    add_memberships(who, name);
  }
  add_group(who, who->gid);
  for (; *groups != NULL; groups++) {
    gid_t extra;
    if (!find_group(*groups, &extra, problem, size)) return false;
    add_group(who, extra);
  }
  return true;
}
