/*
 * See fill_volume.h. The content is copied into a directory of the volume, which is also the lock: whoever makes it, fills. When all of it is
 * there, it is moved to its place. A guest that died meanwhile has left the directory; after a while without a change to it, the next one
 * takes it away and begins again, and leaves alone what was moved already.
 */
#include "fill_volume.h"
#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define STAGE ".caisson-filling"
#define STALE_MS 30000
#define BEAT_MS 1000
#define WAIT_MS 100
#define MAX_DEPTH 200 /* each level has two descriptors open */
#define CHUNK 131072

/* A file with several names, by which the others are linked to the first. */
struct linked {
  struct linked *next;
  ino_t inode;
  char path[];
};

static struct linked *links;
static int volume;
static uint64_t told;

/* Others see that this one is alive. */
static void beat(void) {
  uint64_t now = monotonic_ms();
  if (now < told + BEAT_MS) return;
  told = now;
  utimensat(volume, STAGE, NULL, 0);
}

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

static DIR *open_directory(int at, const char *name) {
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (fd >= 0 && directory == NULL) close(fd);
  return directory;
}

static int remove_tree(int at, const char *name, int depth) {
  beat();
  if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return 0;
  if (unlinkat(at, name, AT_REMOVEDIR) == 0) return 0;
  DIR *directory = depth > MAX_DEPTH ? NULL : open_directory(at, name);
  if (directory == NULL) return errno;
  int code = 0;
  /* Removing while reading may skip entries. */
  for (bool more = true; more && code == 0;) {
    more = false;
    rewinddir(directory);
    for (struct dirent *e; code == 0 && (e = readdir(directory)) != NULL;) {
      if (is_dots(e->d_name)) continue;
      code = remove_tree(dirfd(directory), e->d_name, depth + 1);
      more = true;
    }
  }
  closedir(directory);
  return code == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0 ? errno : code;
}

static int copy_content(int from, int to) {
  static char chunk[CHUNK];
  for (;;) {
    ssize_t n = read(from, chunk, sizeof chunk);
    if (n == 0) return 0;
    if (n < 0 || !write_all(to, chunk, (size_t)n)) return errno;
    beat();
  }
}

/* Of those that a server may keep. */
static void copy_attributes(int from, int to) {
  char names[4096], value[4096];
  ssize_t length = flistxattr(from, names, sizeof names);
  for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
    if (strncmp(name, "user.", 5) != 0) continue;
    ssize_t n = fgetxattr(from, name, value, sizeof value);
    if (n >= 0) fsetxattr(to, name, value, (size_t)n, 0);
  }
}

static int owned(int at, const char *name, const struct stat *st) {
  if (fchownat(at, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  if (!S_ISLNK(st->st_mode) && fchmodat(at, name, st->st_mode & 07777, 0) != 0) return errno;
  struct timespec times[2] = {st->st_atim, st->st_mtim};
  utimensat(at, name, times, AT_SYMLINK_NOFOLLOW);
  return 0;
}

static int copy_file(int from_at, int to_at, const char *name) {
  int from = openat(from_at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  int to = from < 0 ? -1 : openat(to_at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  int code = to < 0 ? errno : copy_content(from, to);
  if (code == 0) copy_attributes(from, to);
  if (from >= 0) close(from);
  if (to >= 0 && close(to) != 0 && code == 0) code = errno; /* a server may have no room left only now */
  return code;
}

static int copy_link(int from_at, int to_at, const char *name) {
  char target[PATH_MAX];
  ssize_t n = readlinkat(from_at, name, target, sizeof target - 1);
  if (n < 0) return errno;
  target[n] = 0;
  return symlinkat(target, to_at, name) == 0 ? 0 : errno;
}

static int copy_tree(DIR *from, int to, char path[PATH_MAX], int depth);

static int copy_directory(int from_at, int to_at, const char *name, char path[PATH_MAX], int depth) {
  if (depth > MAX_DEPTH) return ELOOP;
  if (mkdirat(to_at, name, 0700) != 0) return errno;
  DIR *from = open_directory(from_at, name);
  int to = from == NULL ? -1 : openat(to_at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int code = to < 0 ? errno : copy_tree(from, to, path, depth + 1);
  if (code == 0) copy_attributes(dirfd(from), to);
  if (from != NULL) closedir(from);
  if (to >= 0) close(to);
  return code;
}

/* Its other name, if that was copied already; else this one is kept as the first. */
static const char *first_name(const struct stat *st, const char *path) {
  if (S_ISDIR(st->st_mode) || st->st_nlink < 2) return NULL;
  for (struct linked *one = links; one != NULL; one = one->next)
    if (one->inode == st->st_ino) return one->path;
  struct linked *one = malloc(sizeof *one + strlen(path) + 1);
  if (one == NULL) return NULL;
  one->inode = st->st_ino;
  strcpy(one->path, path);
  one->next = links;
  links = one;
  return NULL;
}

static int copy_entry(int from, int to, const char *name, char path[PATH_MAX], int depth) {
  struct stat st;
  beat();
  if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  const char *first = first_name(&st, path);
  if (first != NULL) return linkat(volume, first, to, name, 0) == 0 ? 0 : errno;
  int code;
  if (S_ISDIR(st.st_mode)) code = copy_directory(from, to, name, path, depth);
  else if (S_ISREG(st.st_mode)) code = copy_file(from, to, name);
  else if (S_ISLNK(st.st_mode)) code = copy_link(from, to, name);
  else code = mknodat(to, name, st.st_mode, st.st_rdev) == 0 ? 0 : errno;
  return code == 0 ? owned(to, name, &st) : code;
}

/* `path` is that of `to` below the volume. */
static int copy_tree(DIR *from, int to, char path[PATH_MAX], int depth) {
  size_t length = strlen(path);
  int code = 0;
  for (struct dirent *e; code == 0 && (e = readdir(from)) != NULL;) {
    if (is_dots(e->d_name)) continue;
    if (length + 1 + strlen(e->d_name) >= PATH_MAX) return ENAMETOOLONG;
    path[length] = '/';
    strcpy(path + length + 1, e->d_name);
    code = copy_entry(dirfd(from), to, e->d_name, path, depth);
    path[length] = 0;
  }
  return code;
}

/* What is there already stays. */
static int move_all(DIR *stage) {
  for (bool more = true; more;) {
    more = false;
    rewinddir(stage);
    for (struct dirent *e; (e = readdir(stage)) != NULL;) {
      struct stat st;
      if (is_dots(e->d_name) || fstatat(volume, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) continue;
      if (renameat(dirfd(stage), e->d_name, volume, e->d_name) != 0) return errno;
      more = true;
      beat();
    }
  }
  return 0;
}

static int copy_all(int from) {
  struct stat wanted, is;
  char path[PATH_MAX] = STAGE;
  DIR *source = open_directory(from, "."), *stage = open_directory(volume, STAGE);
  int code = source == NULL || stage == NULL ? errno : copy_tree(source, dirfd(stage), path, 0);
  if (code == 0) code = move_all(stage);
  if (source != NULL) closedir(source);
  if (stage != NULL) closedir(stage);
  if (code != 0) return code;
  if (fstat(from, &wanted) != 0 || fstat(volume, &is) != 0) return errno;
  bool other = wanted.st_uid != is.st_uid || wanted.st_gid != is.st_gid;
  if (other && fchown(volume, wanted.st_uid, wanted.st_gid) != 0) return errno;
  return (wanted.st_mode & 07777) != (is.st_mode & 07777) && fchmod(volume, wanted.st_mode & 07777) != 0 ? errno : 0;
}

/* Whether the volume has files; what servers show of their own does not count. @param stage whether somebody fills it, or has died doing so */
static bool has_files(bool *stage) {
  DIR *directory = open_directory(volume, ".");
  bool found = false;
  *stage = false;
  if (directory == NULL) return true;
  for (struct dirent *e; (e = readdir(directory)) != NULL;) {
    if (strcmp(e->d_name, STAGE) == 0) *stage = true;
    else if (strncmp(e->d_name, STAGE, strlen(STAGE)) == 0) remove_tree(volume, e->d_name, 0); /* taken away, but not to the end */
    else if (!is_dots(e->d_name) && strcmp(e->d_name, "lost+found") != 0 && strcmp(e->d_name, ".snapshot") != 0) found = true;
  }
  closedir(directory);
  return found;
}

/* Makes the stage, or waits for those who have. @param again set when it is one that a guest has left that died */
static int lock_stage(bool *again) {
  struct stat st, before = {0};
  uint64_t since = monotonic_ms();
  while (mkdirat(volume, STAGE, 0700) != 0) {
    if (errno != EEXIST) return errno;
    if (fstatat(volume, STAGE, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (st.st_ino != before.st_ino || st.st_mtim.tv_sec != before.st_mtim.tv_sec || st.st_mtim.tv_nsec != before.st_mtim.tv_nsec) since = monotonic_ms();
    before = st;
    if (monotonic_ms() >= since + STALE_MS) {
      char aside[64];
      snprintf(aside, sizeof aside, STAGE "-%llx", (unsigned long long)now_ns());
      if (renameat(volume, STAGE, volume, aside) == 0) {
        *again = true;
        remove_tree(volume, aside, 0);
      }
      since = monotonic_ms();
      continue;
    }
    sleep_ms(WAIT_MS);
  }
  return 0;
}

int fill_volume(const struct volume_to_fill *w) {
  struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  int root = open(w->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  int from = root < 0 ? -1 : (int)syscall(SYS_openat2, root, w->path, &how, sizeof how);
  if (from < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
  volume = open(w->at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (volume < 0) return errno;
  bool stage, again = false;
  if (has_files(&stage) && !stage) return 0;
  int code = lock_stage(&again);
  if (code != 0) return code == EROFS ? 0 : code;
  if (again || !has_files(&stage)) code = copy_all(from);
  int left = remove_tree(volume, STAGE, 0);
  return code == 0 ? left : code;
}
