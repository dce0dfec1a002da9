/* See user.h. Names are looked up in the container's own /etc/passwd and /etc/group. */
#include "user.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGEST_ID 0x7fffffffL
#define MAX_LINE (1u << 20) /* the file ends for us at a longer one */
#define MAX_FIELDS 7

/* Whether it is a number, by the rules of Go's strconv.Atoi. One that is too large for a long is still too large for an id. */
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

/* The container may have anything there, such as a pipe that would make us wait: only a regular file counts. */
static FILE *open_list(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat st;
  if (fd < 0) return NULL;
  FILE *file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
  if (file == NULL) close(fd);
  return file;
}

/*
 * Reads the fields of a line as moby/sys/user does: without blanks around the line, and missing fields are empty. False at the end of the
 * file. The fields are valid until the next line is read.
 */
static bool read_fields(FILE *file, char *fields[MAX_FIELDS]) {
  static char line[MAX_LINE];
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    size_t length = strlen(line);
    if (length == sizeof line - 1 && line[length - 1] != '\n') return false;
    while (length > 0 && isspace((unsigned char)line[length - 1])) line[--length] = 0;
    char *rest = line + strspn(line, " \t\v\f\r");
    if (*rest == 0) continue;
    for (int i = 0; i < MAX_FIELDS; i++) {
      fields[i] = rest;
      rest += strcspn(rest, ":");
      if (*rest == ':') *rest++ = 0;
    }
    return true;
  }
  return false;
}

static bool read_group(FILE *file, char *fields[MAX_FIELDS]) {
  while (read_fields(file, fields))
    if (fields[0][0] != '#') return true;
  return false;
}

/* Anything but a number counts as 0. */
static long id_of(const char *text) {
  long value;
  return number(text, &value) ? value : 0;
}

static void close_list(FILE *file) {
  if (file != NULL) fclose(file);
}

/* Finds a group by name or number. False: `problem` says why. */
static bool find_group(const char *text, gid_t *group, char *problem, size_t size) {
  long value;
  if (number(text, &value)) {
    *group = (gid_t)value;
    return in_range(value, problem, size);
  }
  FILE *file = open_list("/etc/group");
  bool found = false;
  for (char *fields[MAX_FIELDS]; !found && read_group(file, fields);) {
    found = strcmp(fields[0], text) == 0;
    if (found) *group = (gid_t)id_of(fields[2]);
  }
  close_list(file);
  if (!found) snprintf(problem, size, "unable to find group %s: no matching entries in group file", text);
  return found;
}

static bool is_member(char *list, const char *name) {
  for (char *one; (one = strsep(&list, ",")) != NULL;)
    if (*one != 0 && strcmp(one, name) == 0) return true;
  return false;
}

static void add_memberships(struct identity *who, const char *name) {
  FILE *file = open_list("/etc/group");
  for (char *fields[MAX_FIELDS]; read_group(file, fields);)
    if (is_member(fields[3], name)) add_group(who, (gid_t)id_of(fields[2]));
  close_list(file);
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
  FILE *file = open_list("/etc/passwd");
  for (char *fields[MAX_FIELDS]; !found && read_fields(file, fields);) {
    if (numeric ? id_of(fields[2]) != value : strcmp(fields[0], user) != 0) continue;
    found = true;
    who->uid = (uid_t)id_of(fields[2]);
    who->gid = (gid_t)id_of(fields[3]);
    snprintf(name, sizeof name, "%s", fields[0]);
    snprintf(who->home, sizeof who->home, "%s", fields[5]);
  }
  close_list(file);
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
