/* See rewrite.h. The file is in memory of the machine's own, and bound over its path in the container, which may write to it. */
#include "rewrite.h"
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Comparing lines takes the product of both lengths. */
#define MOST_WORK (64u << 20)

static size_t line_length(const char *line) {
  size_t length = strcspn(line, "\n");
  return length + (line[length] == '\n');
}

static bool has_line(const char *text, const char *line, size_t length) {
  for (; *text != 0; text += line_length(text))
    if (line_length(text) == length && memcmp(text, line, length) == 0) return true;
  return false;
}

/* Appends the lines of `from` that are in `with`, or that are not, to `to`, which has room. Returns the new end. */
static char *take_lines(char *to, const char *from, const char *with, bool wanted) {
  for (size_t length; *from != 0; from += length) {
    length = line_length(from);
    if (has_line(with, from, length) == wanted) to = mempcpy(to, from, length);
  }
  *to = 0;
  return to;
}

/* `now` without the lines of `was` that are not in `wanted`, and with those of `wanted` that were not in `was`. The caller owns it. */
static char *merge(const char *now, const char *was, const char *wanted) {
  size_t size = strlen(now) + strlen(was) + strlen(wanted) + 2;
  char *gone = malloc(size), *text = malloc(size);
  if (gone == NULL || text == NULL) abort();
  take_lines(gone, was, wanted, false);
  bool small = (uint64_t)strlen(now) * (strlen(gone) + 1) < MOST_WORK;
  char *end = small ? take_lines(text, now, gone, false) : stpcpy(text, now);
  if (end > text && end[-1] != '\n') *end++ = '\n';
  take_lines(end, wanted, was, false);
  free(gone);
  return text;
}

/* At most this much of a file is read; a longer one has been changed by somebody. */
static char *read_all(int fd) {
  char *text = malloc(MAX_REWRITTEN + 1);
  if (text == NULL) abort();
  ssize_t n = pread(fd, text, MAX_REWRITTEN, 0);
  if (n < 0) n = 0;
  text[n] = 0;
  return text;
}

/* Without a moment in which the file is empty. */
static bool write_over(int fd, const char *text) {
  return lseek(fd, 0, SEEK_SET) == 0 && write_all(fd, text, strlen(text)) && ftruncate(fd, (off_t)strlen(text)) == 0;
}

static struct bound_file *find(struct program *program, const char *path) {
  for (uint32_t i = 0; i < program->file_count; i++)
    if (strcmp(program->files[i].path, path) == 0) return &program->files[i];
  return NULL;
}

const char *rewrite_file(struct container *c, const char *path, enum changed changed, const char *content) {
  static char problem[300];
  char at[256];
  struct bound_file *file = find(&c->program, path);
  if (file == NULL || file->content == NULL) return "the container has no such file of the host's";
  if (strlen(content) > MAX_REWRITTEN) return "the file would become too long";
  snprintf(at, sizeof at, "%s/%s", c->files, file->name);
  int fd = open(at, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    snprintf(problem, sizeof problem, "%.200s: %s", path, cause());
    return problem;
  }
  char *now = read_all(fd), *merged = NULL;
  bool own = strcmp(now, file->content) == 0, done = true;
  if (own) done = write_over(fd, content);
  else if (changed == CHANGED_MERGED) done = write_over(fd, merged = merge(now, file->content, content));
  if (!done) snprintf(problem, sizeof problem, "%.200s: %s", path, cause());
  if (done && (own || merged != NULL)) {
    free(file->content);
    file->content = strdup(content);
  }
  free(now), free(merged);
  close(fd);
  return done ? NULL : problem;
}
