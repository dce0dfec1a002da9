/* Writing: the file server is sent the entries of an archive, one after the other. */
#include "file_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int file_fd = -1; /* the file being written */
static char file_path[MAX_NAME + 1];
static struct attributes {
  uint32_t mode, uid, gid;
  struct timespec times[2]; /* access, modification */
} file_attributes;
static uint8_t file_capability[256];
static size_t file_capability_length;
static bool file_owned, file_moded; /* it already has its owner, its mode */

void finish_file(void) {
  if (file_fd < 0) return;
  const struct attributes *a = &file_attributes;
  if (!file_owned && fchown(file_fd, a->uid, a->gid) != 0) fail(errno, "lchown", file_path);
  if (file_capability_length > 0 && fsetxattr(file_fd, "security.capability", file_capability, file_capability_length, 0) != 0 && errno != ENOTSUP) fail(errno, "setxattr", file_path);
  if (!file_moded && fchmod(file_fd, a->mode & 07777) != 0) fail(errno, "chmod", file_path);
  if (futimens(file_fd, a->times) != 0) fail(errno, "utimensat", file_path);
  if (close(file_fd) != 0) fail(errno, "close", file_path);
  file_fd = -1;
}

/* Whether `name` is a mount point or contains one: then nothing of it is removed. */
static bool holds_mount(int parent, const char *name) {
  struct statx st;
  if (statx(parent, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) != 0) return false;
  if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) return true;
  if (!S_ISDIR(st.stx_mode)) return false;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  size_t count;
  char **names = list_names(fd, &count);
  bool found = false;
  for (size_t i = 0; i < count; i++) {
    if (!found) found = holds_mount(fd, names[i]);
    free(names[i]);
  }
  free(names);
  close(fd);
  return found;
}

/* Removes `name` and everything below it. */
static int remove_all(int parent, const char *name) {
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return -1;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t count;
  char **names = list_names(fd, &count);
  int result = 0;
  for (size_t i = 0; i < count; i++) {
    if (result == 0) result = remove_all(fd, names[i]);
    free(names[i]);
  }
  int error = errno;
  free(names);
  close(fd);
  errno = error;
  return result != 0 ? result : unlinkat(parent, name, AT_REMOVEDIR);
}

/* Makes the missing directories of `path`. Symbolic links on the way are followed inside the root. */
static void make_missing(const char *path) {
  char part[MAX_NAME + 1];
  for (size_t i = 1; i <= strlen(path) && i < sizeof part; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    int there = open_inside(part, O_PATH | O_DIRECTORY);
    if (there >= 0) {
      close(there);
      continue;
    }
    if (errno != ENOENT) return;
    char *slash = strrchr(part, '/');
    if (slash != NULL) *slash = 0;
    int above = open_inside(slash == NULL ? "" : part, O_PATH | O_DIRECTORY);
    if (above < 0) return;
    mkdirat(above, slash == NULL ? part : slash + 1, 0755);
    close(above);
  }
}

/* The directory that something was put into last: mostly the next entry goes there too. */
static struct {
  int fd;
  char path[MAX_NAME + 1];
  bool plain; /* it has no set-group-ID bit and no default ACL: new files get the owner and mode that they are made with */
} last = {.fd = -1};

static void forget_directory(void) {
  if (last.fd >= 0) close(last.fd);
  last.fd = -1;
}

static int open_directory_of(const char *path, const char **base);

/* open_directory_of, but the descriptor belongs to `last` and stays open. */
static int parent_of(const char *path, const char **base) {
  const char *slash = strrchr(path, '/');
  size_t length = slash == NULL ? 0 : (size_t)(slash - path);
  *base = slash == NULL ? path : slash + 1;
  if (last.fd >= 0 && strlen(last.path) == length && memcmp(last.path, path, length) == 0) return last.fd;
  forget_directory();
  int found = open_directory_of(path, base);
  if (found < 0) return -1;
  int fd = openat(found, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  close(found);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    if (fd >= 0) close(fd);
    return -1;
  }
  last.fd = fd;
  memcpy(last.path, path, length);
  last.path[length] = 0;
  last.plain = !(st.st_mode & S_ISGID) && fgetxattr(fd, "system.posix_acl_default", NULL, 0) < 0;
  return fd;
}

/* Opens the directory of `path`, made if it is missing; `base` is set to the last component, within `path`. */
static int open_directory_of(const char *path, const char **base) {
  char directory[MAX_NAME + 1];
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/');
  *base = slash == NULL ? path : path + (slash - directory) + 1;
  *(slash == NULL ? directory : slash) = 0;
  int fd = open_inside(directory, O_PATH | O_DIRECTORY);
  if (fd >= 0 || errno != ENOENT) return fd;
  make_missing(directory);
  return open_inside(directory, O_PATH | O_DIRECTORY);
}

static void set_attributes(int parent, const char *base, const char *path, const struct attributes *a, bool link, bool times) {
  if (fchownat(parent, base, a->uid, a->gid, AT_SYMLINK_NOFOLLOW) != 0) fail(errno, "lchown", path);
  if (!link && fchmodat(parent, base, a->mode & 07777, 0) != 0) fail(errno, "chmod", path);
  if (times && utimensat(parent, base, a->times, AT_SYMLINK_NOFOLLOW) != 0) fail(errno, "utimensat", path);
}

static void read_attributes(struct reader *r, struct attributes *a) {
  a->mode = read_u32(r);
  a->uid = read_u32(r);
  a->gid = read_u32(r);
  a->times[1].tv_sec = (time_t)read_u64(r);
  a->times[1].tv_nsec = (long)read_u32(r);
  a->times[0].tv_sec = (time_t)read_u64(r);
  a->times[0].tv_nsec = (long)read_u32(r);
}

static void make_link(const char *target, int parent, const char *base, const char *path) {
  const char *name;
  char copy[MAX_NAME + 1];
  snprintf(copy, sizeof copy, "%s", target);
  char *slash = strrchr(copy, '/');
  name = slash == NULL ? target : target + (slash - copy) + 1;
  if (slash != NULL) *slash = 0;
  else copy[0] = 0;
  int directory = open_inside(copy, O_PATH | O_DIRECTORY);
  if (directory < 0 || linkat(directory, name, parent, base, 0) != 0) fail(errno, "link", path);
  close(directory);
}

/* Makes the file that is written next. False: it could not, perhaps because something has that name. */
static bool make_file(int parent, const char *base, const struct attributes *a) {
  file_moded = last.plain && (a->mode & 07000) == 0;
  file_owned = last.plain && a->uid == 0 && a->gid == 0;
  file_fd = openat(parent, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, file_moded ? a->mode & 0777 : 0600);
  return file_fd >= 0;
}

/* Puts a file, directory, link or node in the place of what is there. A directory over a directory only changes its attributes. */
void serve_put(struct reader *r) {
  struct attributes a;
  uint8_t flags = read_u8(r);
  char *path = read_string(r), *target = read_string(r), *capability = NULL;
  read_attributes(r, &a);
  uint32_t node_major = read_u32(r), node_minor = read_u32(r);
  uint32_t capability_length = read_u32(r);
  if (r->bad || capability_length > sizeof file_capability || (size_t)(r->end - r->at) < capability_length || strlen(path) > MAX_NAME) fail(EINVAL, "put", path);
  capability = (char *)r->at;
  mode_t kind = a.mode & S_IFMT;
  const char *base;
  int parent = parent_of(path, &base);
  if (parent < 0) fail(errno, "mkdir", path);
  /* A path that ends in `.`, `..` or a slash names a directory that is there. */
  bool itself = *base == 0 || strcmp(base, ".") == 0 || strcmp(base, "..") == 0;
  if (itself && kind != S_IFDIR) fail(EISDIR, "put", path);
  if (*base == 0) base = ".";
  bool file = kind == S_IFREG && *target == 0, merge = false;
  /* Mostly there is nothing of that name. */
  if (!file || !make_file(parent, base, &a)) {
    struct stat st;
    bool there = fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0;
    merge = there && S_ISDIR(st.st_mode) && kind == S_IFDIR;
    if (there && !merge) {
      if ((flags & PUT_KEEP_KIND) && S_ISDIR(st.st_mode)) fail(EISDIR, "keep", path);
      if ((flags & PUT_KEEP_KIND) && kind == S_IFDIR) fail(ENOTDIR, "keep", path);
      if (S_ISDIR(st.st_mode) && holds_mount(parent, base)) fail(EBUSY, "RemoveAll", path);
      if (remove_all(parent, base) != 0) fail(errno, "RemoveAll", path);
    }
    if (file && !make_file(parent, base, &a)) fail(errno, "open", path);
  }
  bool times = true;
  if (*target != 0 && kind == S_IFREG) { /* a hard link to `target` */
    make_link(target, parent, base, path);
    struct stat st;
    if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) kind = S_IFLNK;
  } else if (file) {
    snprintf(file_path, sizeof file_path, "%s", path);
    file_attributes = a;
    memcpy(file_capability, capability, file_capability_length = capability_length);
  } else if (kind == S_IFDIR) {
    if (!merge && mkdirat(parent, base, 0700) != 0) fail(errno, "mkdir", path);
    times = false; /* they are set after its content was put */
  } else if (kind == S_IFLNK) {
    if (symlinkat(target, parent, base) != 0) fail(errno, "symlink", path);
  } else if (kind == S_IFIFO || kind == S_IFCHR || kind == S_IFBLK) {
    if (mknodat(parent, base, kind | 0600, kind == S_IFIFO ? 0 : makedev(node_major, node_minor)) != 0) fail(errno, "mknod", path);
  } else {
    fail(EINVAL, "put", path);
  }
  if (file_fd < 0) {
    set_attributes(parent, base, path, &a, kind == S_IFLNK, times);
    forget_directory(); /* the same path may now lead elsewhere */
  }
  free(path);
  free(target);
}

void serve_times(struct reader *r) {
  struct attributes a;
  char *path = read_string(r);
  read_attributes(r, &a);
  if (r->bad || strlen(path) > MAX_NAME) fail(EINVAL, "put", path);
  const char *base;
  int parent = parent_of(path, &base);
  if (parent >= 0) utimensat(parent, *base == 0 ? "." : base, a.times, AT_SYMLINK_NOFOLLOW);
  free(path);
}

bool file_open(void) { return file_fd >= 0; }

void file_write(const uint8_t *data, size_t length) {
  if (!write_all(file_fd, data, length)) fail(errno, "write", file_path);
}

uint32_t file_splice(int pipe, uint32_t length) {
  uint32_t moved = 0;
  while (moved < length) {
    ssize_t n = splice(pipe, NULL, file_fd, NULL, length - moved, SPLICE_F_MOVE);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EINVAL) fail(errno, "write", file_path);
    if (n <= 0) break;
    moved += (uint32_t)n;
  }
  return moved;
}
