/* See network.h. The classic ioctls are enough: a card has one address, and the container one default route. */
#include "network.h"
#include "platform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int control(void) {
  static int fd = -1;
  if (fd < 0) fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return fd;
}

static bool set_flags(const char *name, short flags) {
  struct ifreq r = {0};
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
  if (ioctl(control(), SIOCGIFFLAGS, &r) != 0) return false;
  r.ifr_flags |= flags;
  return ioctl(control(), SIOCSIFFLAGS, &r) == 0;
}

static bool clear_up(const char *name) {
  struct ifreq r = {0};
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
  if (ioctl(control(), SIOCGIFFLAGS, &r) != 0) return false;
  r.ifr_flags &= (short)~IFF_UP;
  return ioctl(control(), SIOCSIFFLAGS, &r) == 0;
}

void loopback_up(void) { set_flags("lo", IFF_UP | IFF_RUNNING); }

static bool set_address(unsigned long request, const char *name, uint32_t address) {
  struct ifreq r = {0};
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
  struct sockaddr_in *in = (struct sockaddr_in *)&r.ifr_addr;
  in->sin_family = AF_INET;
  in->sin_addr.s_addr = address;
  return ioctl(control(), request, &r) == 0;
}

/* Without IPv6, as in Docker's bridge networks: its cards would speak by themselves. */
void prepare_nics(void) {
  for (uint32_t i = 0; i < 16; i++) {
    char name[IFNAMSIZ], path[64];
    platform_nic(i, name);
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1", 1) != 1) say("%s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (!set_flags(name, IFF_UP | IFF_RUNNING)) return;
  }
}

/* A VM resumed from a snapshot has the MAC of the one that the snapshot was taken of. */
static void set_mac(const char *name, const char *mac) {
  unsigned b[6];
  if (sscanf(mac, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6) return;
  struct ifreq r = {0};
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
  unsigned char wanted[6];
  for (int i = 0; i < 6; i++) wanted[i] = (unsigned char)b[i];
  if (ioctl(control(), SIOCGIFHWADDR, &r) != 0 || memcmp(r.ifr_hwaddr.sa_data, wanted, 6) == 0) return;
  r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  memcpy(r.ifr_hwaddr.sa_data, wanted, 6);
  if (ioctl(control(), SIOCSIFHWADDR, &r) != 0) say("%s: cannot set the MAC: %s", name, strerror(errno));
}

const char *configure_nic(uint32_t index, const char *name, const char *mac, const char *address, uint32_t prefix,
                          const char *gateway, uint32_t mtu) {
  static char problem[128];
  char current[IFNAMSIZ];
  platform_nic(index, current);
  struct ifreq r = {0};
  if (strcmp(current, name) != 0) {
    if (!clear_up(current)) goto failed; /* an interface that is up cannot be renamed */
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", current);
    snprintf(r.ifr_newname, sizeof r.ifr_newname, "%s", name);
    if (ioctl(control(), SIOCSIFNAME, &r) != 0) goto failed;
  }
  set_mac(name, mac);
  if (mtu != 0) {
    memset(&r, 0, sizeof r);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    r.ifr_mtu = (int)mtu;
    if (ioctl(control(), SIOCSIFMTU, &r) != 0) goto failed;
  }
  uint32_t mask = prefix == 0 ? 0 : htonl(~0u << (32 - (prefix > 32 ? 32 : prefix)));
  if (!set_address(SIOCSIFADDR, name, inet_addr(address)) || !set_address(SIOCSIFNETMASK, name, mask)) goto failed;
  if (!set_flags(name, IFF_UP | IFF_RUNNING)) goto failed;
  if (*gateway != 0) {
    struct rtentry route = {0};
    struct sockaddr_in *to = (struct sockaddr_in *)&route.rt_gateway;
    to->sin_family = AF_INET;
    to->sin_addr.s_addr = inet_addr(gateway);
    route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    route.rt_dev = (char *)name;
    if (ioctl(control(), SIOCADDRT, &route) != 0 && errno != EEXIST) goto failed;
  }
  return NULL;
failed:
  snprintf(problem, sizeof problem, "network interface %.16s: %s", name, strerror(errno));
  return problem;
}
