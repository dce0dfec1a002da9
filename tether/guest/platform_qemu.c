/*
 * QEMU's devices (see platform.h): virtio-blk disks, which have their place as serial number, virtio-serial ports, which have names, and
 * virtio-net cards.
 */
#include "platform.h"
#include "platform_qemu.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One line of a file in /sys, without its end. */
static bool read_line(const char *path, char *line, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, line, size - 1);
  close(fd);
  line[n < 0 ? 0 : n] = 0;
  line[strcspn(line, "\n")] = 0;
  return true;
}

/* ---- disks ---- */

#define MOST_DISKS (2 * MAX_BUSES * MAX_UNITS)

/* Disks with the serial number that hostd gives them, `scsi<bus>:<unit>`; it is the same in a snapshot and in what is resumed from it. */
static struct disk {
  char serial[32], device[32];
} disks[MOST_DISKS];
static size_t disk_count;

void platform_find_disks(void) {
  DIR *dir = opendir("/sys/block");
  if (dir == NULL) return;
  disk_count = 0;
  for (struct dirent *e; disk_count < MOST_DISKS && (e = readdir(dir)) != NULL;) {
    char path[300];
    struct disk *disk = &disks[disk_count];
    snprintf(path, sizeof path, "/sys/block/%s/serial", e->d_name);
    if (!read_line(path, disk->serial, sizeof disk->serial)) continue;
    snprintf(disk->device, sizeof disk->device, "/dev/%.24s", e->d_name);
    disk_count++;
  }
  closedir(dir);
}

static const char *find_disk(uint32_t bus, uint32_t unit) {
  char wanted[32];
  snprintf(wanted, sizeof wanted, "scsi%u:%u", bus, unit);
  for (size_t i = 0; i < disk_count; i++)
    if (strcmp(disks[i].serial, wanted) == 0) return disks[i].device;
  return NULL;
}

const char *platform_disk(uint32_t bus, uint32_t unit) {
  const char *device;
  for (int i = 0; (device = find_disk(bus, unit)) == NULL && i < 2500; i++) {
    sleep_ms(2);
    platform_find_disks();
  }
  return device;
}

/* ---- network cards ---- */

void platform_nic(uint32_t index, char name[IFNAMSIZ]) { snprintf(name, IFNAMSIZ, "eth%u", index); }

bool platform_is_nic(const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/sys/class/net/%.20s/device", name);
  return access(path, F_OK) == 0;
}

/* ---- ports ---- */

#define PORTS "/sys/class/virtio-ports"

static const char *const port_names[] = {[PORT_CHANNEL] = "serial0", [PORT_LOG] = "serial1"};

/* Opens the port of that name, or only looks for it (0: it is there). */
static int find_port(const char *name, int flags, bool look) {
  DIR *dir = opendir(PORTS);
  if (dir == NULL) return -1;
  int fd = -1;
  for (struct dirent *e; fd < 0 && (e = readdir(dir)) != NULL;) {
    char path[300], found[64];
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, PORTS "/%s/name", e->d_name);
    if (!read_line(path, found, sizeof found) || strcmp(found, name) != 0) continue;
    snprintf(path, sizeof path, "/dev/%s", e->d_name);
    fd = look ? 0 : open(path, flags | O_CLOEXEC);
  }
  closedir(dir);
  return fd;
}

int platform_open_port(enum platform_port port, int flags) {
  int fd = find_port(port_names[port], flags, false);
  if (fd < 0) say("no %s port", port_names[port]);
  return fd;
}

int qemu_open_rpc(int flags) { return find_port(QEMU_RPC_PORT, flags, false); }

/* Ports appear in the host's order, one after the other: the one for GuestRPC is the last. */
void platform_wait_for_devices(void) {
  for (int i = 0; i < 5000 && find_port(QEMU_RPC_PORT, 0, true) < 0; i++) sleep_ms(1);
}
