/* Interpreting a program: u32 version, then steps of u8 operation, u32 length, fields. Each step is carried out as it is read. */
#include "program.h"
#include "confine.h"
#include "container.h"
#include "leases.h"
#include "network.h"
#include "place.h"
#include "resolver.h"
#include "root.h"
#include "setup.h"
#include "system.h"
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char too_many_mounts[] = "too many mounts";

static const char *step_cover(struct program *program, enum step step, struct reader *r) {
  if (program->cover_count == MAX_MOUNTS) return too_many_mounts;
  struct cover *cover = &program->covers[program->cover_count++];
  cover->step = step;
  cover->path = read_string(r);
  if (step != STEP_TMPFS) return NULL;
  cover->flags = read_u64(r);
  cover->options = read_string(r);
  return NULL;
}

static const char *step_volume(struct container *c, struct reader *r) {
  struct program *program = &c->program;
  if (program->cover_count == MAX_MOUNTS) return too_many_mounts;
  struct cover *cover = &program->covers[program->cover_count];
  uint32_t bus = read_u32(r);
  cover->step = STEP_VOLUME;
  uint32_t unit = read_u32(r);
  uint8_t read_only = read_u8(r);
  cover->flags = read_only & VOLUME_MOUNT_READ_ONLY ? MS_RDONLY : 0;
  cover->path = read_string(r);
  cover->options = read_string(r);
  if (r->bad || bus >= MAX_BUSES || unit >= MAX_UNITS) return "damaged step";
  cover->disk = volume_number(bus, unit);
  program->cover_count++;
  return mount_volume(c, bus, unit, (read_only & VOLUME_DISK_READ_ONLY) != 0);
}

/*
 * What every volume without a disk begins with: its number among them, flags, and where it is mounted. It counts when its own fields have
 * been read as well. NULL: there are too many.
 */
static struct cover *diskless_cover(struct program *program, struct reader *r, uint32_t *number, uint8_t *flags) {
  if (program->cover_count == MAX_MOUNTS) return NULL;
  struct cover *cover = &program->covers[program->cover_count];
  *number = read_u32(r);
  *flags = read_u8(r);
  cover->step = STEP_VOLUME;
  cover->flags = *flags & VOLUME_MOUNT_READ_ONLY ? MS_RDONLY : 0;
  cover->path = read_string(r);
  cover->options = read_string(r);
  cover->disk = MAX_DISKS + *number;
  return cover;
}

/* A volume that the guest mounts itself. */
static const char *step_guest_mount(struct container *c, struct reader *r) {
  struct program *program = &c->program;
  uint32_t number;
  uint8_t flags;
  struct cover *cover = diskless_cover(program, r, &number, &flags);
  if (cover == NULL) return too_many_mounts;
  struct guest_mount wanted = {.volume = read_string(r), .type = read_string(r), .device = read_string(r), .flags = read_u64(r)};
  wanted.data = read_string(r);
  const char *failed = "damaged step";
  if (!r->bad && number < MAX_GUEST_MOUNTS) {
    program->cover_count++;
    failed = mount_guest_volume(c, number, &wanted);
    if (failed == NULL && flags & VOLUME_FILL) failed = fill_guest_volume(c, number, wanted.volume, cover->path);
  }
  free(wanted.volume), free(wanted.type), free(wanted.device), free(wanted.data);
  return failed;
}

/* A volume that another machine serves. */
static const char *step_served_volume(struct container *c, struct reader *r) {
  struct program *program = &c->program;
  uint32_t number;
  uint8_t flags;
  struct cover *cover = diskless_cover(program, r, &number, &flags);
  if (cover == NULL) return too_many_mounts;
  struct served_volume wanted = {.volume = read_string(r), .server = read_string(r)};
  wanted.card = hidden_card_read(r);
  const char *failed = "damaged step";
  if (!r->bad && number < MAX_GUEST_MOUNTS) {
    program->cover_count++;
    failed = mount_served_volume(c, number, &wanted);
  }
  free(wanted.volume), free(wanted.server), hidden_card_free(&wanted.card);
  return failed;
}

static const char *step_file(struct container *c, struct reader *r) {
  struct program *program = &c->program;
  char *path = read_string(r);
  uint32_t mode = read_u32(r);
  char *content = read_string(r), *name = read_string(r), at[256];
  const char *failed = leases_await(); /* its addresses are written in its hosts file */
  if (failed != NULL) return failed;
  if (r->bad || program->file_count == MAX_FILES) return "too many files";
  if (*name == '/' || strstr(name, "..") != NULL || (size_t)snprintf(at, sizeof at, "%s/%s", c->files, name) >= sizeof at) return "bad name of a file";
  for (char *slash = at + strlen(c->files) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
    *slash = 0;
    mkdir(at, 0755);
  }
  bool hosts = strcmp(path, "/etc/hosts") == 0;
  if (hosts) {
    char *whole = leases_fill_in(content);
    free(content);
    content = whole;
  }
  int fd = open(at, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
  if (fd < 0 || !write_all(fd, content, strlen(content))) return "cannot write a file";
  fchmod(fd, mode);
  close(fd);
  bool changes = hosts || strcmp(path, "/etc/resolv.conf") == 0; /* with the container's networks */
  if (!changes) free(content);
  program->files[program->file_count++] = (struct bound_file){path, name, changes ? content : NULL};
  return NULL;
}

/* A card with IPv4 alone. */
static const char *step_nic(struct reader *r) {
  static char nothing[] = "", *no_sysctls[] = {NULL};
  uint32_t index = read_u32(r);
  struct card card = {.name = read_string(r), .mac = read_string(r), .address6 = nothing, .gateway6 = nothing, .sysctls = no_sysctls};
  card.address = read_string(r), card.prefix = read_u32(r), card.gateway = read_string(r), card.mtu = read_u32(r);
  const char *failed = r->bad ? "damaged step" : configure_nic(index, &card);
  free(card.name), free(card.mac), free(card.address), free(card.gateway);
  return failed;
}

static const char *step_card(struct reader *r) {
  uint32_t index = read_u32(r);
  struct card card = card_read(r);
  const char *failed = r->bad ? "damaged step" : configure_nic(index, &card);
  card_free(&card);
  return failed;
}

static const char *step_name_servers(const struct container *c, struct reader *r) {
  char **servers = read_strings(r);
  const char *failed = r->bad ? "damaged step" : resolver_set(c, servers);
  free_strings(servers);
  return failed;
}

static const char *carry_out(struct container *c, enum step step, struct reader *r) {
  struct program *program = &c->program;
  uint32_t bus, unit;
  const char *failed = NULL;
  char *a, *b;
  switch (step) {
    case STEP_ROOT:
      bus = read_u32(r), unit = read_u32(r);
      program->read_only = read_u8(r) != 0;
      return mount_root(c, bus, unit, false);
    case STEP_HOSTNAME:
      a = read_string(r), b = read_string(r);
      if (sethostname(a, strlen(a)) != 0 || setdomainname(*b == 0 ? "(none)" : b, *b == 0 ? 6 : strlen(b)) != 0) failed = "cannot set the host name";
      free(a), free(b);
      return failed;
    case STEP_NIC:
      return step_nic(r);
    case STEP_CARD:
      return step_card(r);
    case STEP_FILE:
      return step_file(c, r);
    case STEP_SYSCTL:
      a = read_string(r), b = read_string(r);
      failed = set_sysctl(a, b);
      free(a), free(b);
      return failed;
    case STEP_NAME_SERVERS:
      return step_name_servers(c, r);
    case STEP_LIMIT:
      a = read_string(r), b = read_string(r);
      failed = r->bad ? "damaged step" : cgroup_limit(&c->cgroup, a, b);
      free(a), free(b);
      return failed;
    case STEP_SHM:
      program->shm_size = read_u64(r);
      return NULL;
    case STEP_STOP:
      program->stop_signal = read_u32(r);
      program->stop_timeout_s = read_u32(r);
      return NULL;
    case STEP_GATE:
      program->gate_timeout_ms = read_u32(r);
      return NULL;
    case STEP_PRIVILEGED:
      program->privileged = true;
      confine_devices(&c->cgroup, false);
      return NULL;
    case STEP_WRITABLE_CGROUPS:
      program->writable_cgroups = true;
      return NULL;
    case STEP_USER_NAMESPACES:
      set_sysctl("kernel.unprivileged_userns_clone", "1"); /* a kernel that does not have it allows them anyway */
      return NULL;
    case STEP_NO_LOG:
      log_close(&c->log);
      return NULL;
    case STEP_INIT:
      program->init = true;
      return NULL;
    case STEP_INIT_LAYER:
      program->init_layer = true;
      program->created = read_u64(r);
      return NULL;
    case STEP_TMPFS:
    case STEP_MASK:
    case STEP_READ_ONLY:
      return step_cover(program, step, r);
    case STEP_VOLUME:
      return step_volume(c, r);
    case STEP_GUEST_MOUNT:
      return step_guest_mount(c, r);
    case STEP_SERVED_VOLUME:
      return step_served_volume(c, r);
    case STEP_ROOT_SIZE:
      return limit_root(c, read_u64(r));
    case STEP_PROCESS:
      program->loaded = process_read(r, &program->process);
      return program->loaded ? NULL : "damaged process";
  }
  return "unknown step";
}

const char *program_load(struct container *c, const uint8_t *bytes, size_t length) {
  static char problem[600];
  struct reader all = {bytes, bytes + length, false};
  if (read_u32(&all) != PROGRAM_VERSION) return "the program's version is not this boot image's";
  while (all.at < all.end && !all.bad) {
    enum step step = read_u8(&all);
    uint32_t size = read_u32(&all);
    if (all.bad || size > (size_t)(all.end - all.at)) return "damaged program";
    struct reader one = {all.at, all.at + size, false};
    const char *failed = carry_out(c, step, &one);
    if (failed == NULL && one.bad) failed = "damaged step";
    if (failed != NULL) {
      if (one.bad) snprintf(problem, sizeof problem, "%s (step %d)", failed, step);
      else snprintf(problem, sizeof problem, "%s", failed);
      return problem;
    }
    all.at += size;
    static const char *const names[] = {[STEP_ROOT] = "root", [STEP_HOSTNAME] = "hostname", [STEP_NIC] = "nic", [STEP_FILE] = "file", [STEP_SYSCTL] = "sysctl"};
    if (step < sizeof names / sizeof *names && names[step] != NULL) trace_mark(names[step]);
  }
  const char *failed = leases_await();
  if (failed != NULL) return failed;
  report_addresses();
  return c->program.loaded ? NULL : "the program has no process";
}

void program_rehearsed(struct program *program) {
  static char acpi[] = "/proc/acpi", keys[] = "/proc/keys", bus[] = "/proc/bus";
  *program = (struct program){
    .shm_size = USUAL_SHM, /* as it is prepared */
    .covers = {{STEP_MASK, acpi, NULL, 0, 0}, {STEP_MASK, keys, NULL, 0, 0}, {STEP_READ_ONLY, bus, NULL, 0, 0}},
    .cover_count = 3,
  };
}

static const char *set_cover_up(const struct cover *cover, const struct outside *outside) {
  if (cover->step == STEP_TMPFS) return setup_tmpfs(cover->path, cover->flags, cover->options);
  if (cover->step == STEP_VOLUME) return setup_volume(outside->volumes, cover->disk, cover->options, cover->path, cover->flags != 0);
  return cover->step == STEP_MASK ? confine_mask(cover->path, outside->empty) : confine_read_only(cover->path);
}

static bool is_filesystem(const struct cover *cover) { return cover->step == STEP_TMPFS || cover->step == STEP_VOLUME; }

const char *program_setup(const struct program *program, const struct outside *outside) {
  const char *failed = program->init_layer ? place_init_layer(program->created) : NULL;
  if (failed == NULL) failed = setup_system(program->shm_size, outside->dev, outside->sys);
  if (failed == NULL && program->privileged) failed = confine_open_up(outside->machine_dev);
  if (failed == NULL && program->writable_cgroups) failed = confine_open_cgroups();
  /* Filesystems first: the paths of what follows may be in them. */
  for (uint32_t i = 0; failed == NULL && i < program->cover_count; i++)
    if (is_filesystem(&program->covers[i])) failed = set_cover_up(&program->covers[i], outside);
  for (uint32_t i = 0; failed == NULL && i < program->file_count; i++) failed = setup_file(program->files[i].path, outside->files, program->files[i].name, program->read_only);
  if (failed == NULL && program->init) {
    char source[64];
    snprintf(source, sizeof source, "/proc/self/fd/%d", outside->init);
    failed = setup_bound(source, INIT_PATH, true);
  }
  for (uint32_t i = 0; failed == NULL && i < program->cover_count; i++)
    if (!is_filesystem(&program->covers[i])) failed = set_cover_up(&program->covers[i], outside);
  if (failed == NULL && program->process.cwd != NULL) failed = setup_directory(program->process.cwd);
  if (failed == NULL && program->read_only && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) failed = "cannot make the root read-only";
  return failed;
}
