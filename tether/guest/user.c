/* Who a process runs as: resolved with the container's own /etc/passwd and /etc/group, in Docker's words. */
#include "user.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool number(const char *text, unsigned long *value) {
  if (*text == 0) return false;
  char *end;
  *value = strtoul(text, &end, 10);
  return *end == 0 && *value <= 0x7fffffff && text[0] != '-' && text[0] != '+';
}

static void add_group(struct identity *who, gid_t group) {
  for (size_t i = 0; i < who->group_count; i++)
    if (who->groups[i] == group) return;
  if (who->group_count < MAX_GROUPS) who->groups[who->group_count++] = group;
}

/* Finds a group by name or number. */
static bool find_group(const char *text, gid_t *group) {
  unsigned long value;
  bool numeric = number(text, &value);
  FILE *file = fopen("/etc/group", "re");
  for (struct group *g; file != NULL && (g = fgetgrent(file)) != NULL;) {
    if (strcmp(g->gr_name, text) != 0) continue;
    *group = g->gr_gid;
    fclose(file);
    return true;
  }
  if (file != NULL) fclose(file);
  if (numeric) *group = (gid_t)value;
  return numeric;
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
  char user[256] = "", name[256] = "";
  snprintf(user, sizeof user, "%s", text);
  char *group = strchr(user, ':');
  if (group != NULL) *group++ = 0;
  if (*user == 0) snprintf(user, sizeof user, "0");
  snprintf(who->home, sizeof who->home, "/");
  unsigned long value;
  bool numeric = number(user, &value), found = false;
  FILE *file = fopen("/etc/passwd", "re");
  for (struct passwd *p; file != NULL && !found && (p = fgetpwent(file)) != NULL;) {
    if (strcmp(p->pw_name, user) != 0 && !(numeric && p->pw_uid == value)) continue;
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
  if (!found) who->uid = (uid_t)value;
  if (group != NULL && *group != 0) {
    if (!find_group(group, &who->gid)) {
      snprintf(problem, size, "unable to find group %s: no matching entries in group file", group);
      return false;
    }
  } else if (found) {
    add_memberships(who, name);
  }
  add_group(who, who->gid);
  for (; *groups != NULL; groups++) {
    gid_t extra;
    if (!find_group(*groups, &extra)) {
      snprintf(problem, size, "unable to find group %s: no matching entries in group file", *groups);
      return false;
    }
    add_group(who, extra);
  }
  return true;
}
