/* See network.h. A card has at most one address of each family, and the container one default route for each. */
#include "network.h"
#include "announce.h"
#include "leases.h"
#include "netlink.h"
#include "packet_filter.h"
#include "platform.h"
#include "rpc.h"
#include "system.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int control_fd = -1;

static int control(void) {
  if (control_fd < 0) control_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return control_fd;
}

void network_forget_sockets(void) {
  control_fd = -1;
  netlink_forget();
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

static bool write_ipv6(const char *name, const char *key, const char *value) {
  char path[96];
  snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", name, key);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, value, strlen(value)) >= 0;
  if (fd >= 0) close(fd);
  return done;
}

/* Without IPv6, as in Docker's networks that have none: its cards would speak by themselves. */
void prepare_nics(void) {
  for (uint32_t i = 0; i < MAX_NICS; i++) {
    char name[IFNAMSIZ];
    platform_nic(i, name);
    write_ipv6(name, "disable_ipv6", "1");
    if (!set_flags(name, IFF_UP | IFF_RUNNING)) return;
  }
}

static bool read_mac(const char *text, unsigned char mac[6]) {
  return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) == 6;
}

/* A VM resumed from a snapshot has the MAC of the one that the snapshot was taken of. */
static bool set_mac(const char *name, const unsigned char wanted[6]) {
  struct ifreq r = {0};
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
  if (ioctl(control(), SIOCGIFHWADDR, &r) != 0) return false;
  if (memcmp(r.ifr_hwaddr.sa_data, wanted, 6) == 0) return true;
  r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  memcpy(r.ifr_hwaddr.sa_data, wanted, 6);
  return ioctl(control(), SIOCSIFHWADDR, &r) == 0;
}

static bool rename_nic(const char *from, const char *to) {
  struct ifreq r = {0};
  if (strcmp(from, to) == 0) return true;
  if (!clear_up(from)) return false; /* an interface that is up cannot be renamed */
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", from);
  snprintf(r.ifr_newname, sizeof r.ifr_newname, "%s", to);
  return ioctl(control(), SIOCSIFNAME, &r) == 0;
}

static bool set_mtu(const char *name, uint32_t mtu) {
  struct ifreq r = {0};
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
  r.ifr_mtu = (int)mtu;
  return ioctl(control(), SIOCSIFMTU, &r) == 0;
}

static bool set_address4(const char *name, const struct card *card, struct in_addr *address) {
  if (inet_pton(AF_INET, card->address, address) != 1) return errno = EINVAL, false;
  uint32_t mask = card->prefix == 0 ? 0 : htonl(~0u << (32 - (card->prefix > 32 ? 32 : card->prefix)));
  return set_address(SIOCSIFADDR, name, address->s_addr) && set_address(SIOCSIFNETMASK, name, mask);
}

/* The host sees to it that an address is nobody else's: without duplicate address detection it can be used at once. */
static bool set_address6(int interface, const struct card *card, struct in6_addr *address) {
  if (inet_pton(AF_INET6, card->address6, address) != 1) return errno = EINVAL, false;
  const struct ifaddrmsg fixed = {.ifa_family = AF_INET6, .ifa_prefixlen = (uint8_t)card->prefix6, .ifa_flags = IFA_F_NODAD | IFA_F_PERMANENT, .ifa_scope = RT_SCOPE_UNIVERSE, .ifa_index = (uint32_t)interface};
  struct netlink_request request;
  netlink_begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &fixed, sizeof fixed);
  netlink_attribute(&request, IFA_LOCAL, address, sizeof *address);
  netlink_attribute(&request, IFA_ADDRESS, address, sizeof *address);
  return netlink_ask(&request);
}

/* No address from a router, and none that waits for others to object. */
static bool allow_ipv6(const char *name) {
  return write_ipv6(name, "accept_ra", "0") && write_ipv6(name, "autoconf", "0") && write_ipv6(name, "accept_dad", "0") && write_ipv6(name, "disable_ipv6", "0");
}

static bool default_route(int family, const char *gateway, int interface, unsigned flags) {
  const bool add = *gateway != 0;
  uint8_t to[16];
  struct rtmsg fixed = {.rtm_family = (uint8_t)family, .rtm_table = RT_TABLE_MAIN, .rtm_scope = add ? RT_SCOPE_UNIVERSE : RT_SCOPE_NOWHERE, .rtm_flags = flags};
  if (add) fixed.rtm_protocol = RTPROT_BOOT, fixed.rtm_type = RTN_UNICAST;
  if (add && inet_pton(family, gateway, to) != 1) return errno = EINVAL, false;
  struct netlink_request request;
  netlink_begin(&request, add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, &fixed, sizeof fixed);
  if (add) {
    netlink_attribute(&request, RTA_GATEWAY, to, family == AF_INET ? 4 : 16);
    netlink_attribute(&request, RTA_OIF, &interface, sizeof interface);
  }
  /* There was none: for IPv6, the kernel finds an entry of its own in its place (ENOENT). */
  return netlink_ask(&request) || (!add && (errno == ESRCH || errno == ENOENT || errno == EAFNOSUPPORT || errno == EOPNOTSUPP));
}

/* A gateway may be outside of the card's own network. */
static bool route_by(int family, const char *gateway, int interface) {
  return default_route(family, gateway, interface, 0) || ((errno == ENETUNREACH || errno == EHOSTUNREACH) && default_route(family, gateway, interface, RTNH_F_ONLINK));
}

/* ---- which card has which address ---- */

static struct known {
  char mac[20], address[64], address6[64]; /* with their prefix lengths; '' where there is none */
} known[MAX_NICS];

static void keep_address(char to[64], const char *address, uint32_t prefix) {
  if (*address == 0) to[0] = 0;
  else snprintf(to, 64, "%.50s/%u", address, prefix);
}

static void remember(const struct card *card) {
  struct known *free_one = NULL, *k = known;
  for (; k < known + MAX_NICS && strcmp(k->mac, card->mac) != 0; k++)
    if (k->mac[0] == 0 && free_one == NULL) free_one = k;
  if (k == known + MAX_NICS) k = free_one;
  if (k == NULL) return;
  snprintf(k->mac, sizeof k->mac, "%s", card->mac);
  keep_address(k->address, card->address, card->prefix);
  keep_address(k->address6, card->address6, card->prefix6);
}

/* IPv4 of a card that is known. */
static void keep_leased(const char *mac, const char *address, uint32_t prefix) {
  for (struct known *k = known; k < known + MAX_NICS; k++)
    if (strcmp(k->mac, mac) == 0) keep_address(k->address, address, prefix);
  report_addresses();
}

void report_addresses(void) {
  char all[MAX_NICS * 100] = "", first[64] = "";
  size_t told = 0;
  for (const struct known *k = known; k < known + MAX_NICS; k++) {
    const char *address = k->address[0] != 0 ? k->address : k->address6;
    if (address[0] == 0) continue;
    if (first[0] == 0) snprintf(first, sizeof first, "%.*s", (int)strcspn(address, "/"), address);
    told += (size_t)snprintf(all + told, sizeof all - told, "%s%s=%s", told == 0 ? "" : ",", k->mac, address);
  }
  static bool any; /* was told before */
  if (told > 0 || any) rpc_tell(ADDRESSES_KEY, all);
  any = told > 0;
  if (told == 0) return;
  rpc_tell(IP_KEY, first);
}

/* ---- a card as the host wants it ---- */

static const char *set_sysctls(const char *name, char **sysctls) {
  for (; sysctls[0] != NULL && sysctls[1] != NULL; sysctls += 2) {
    char key[256];
    const char *place = strstr(sysctls[0], CARD_NAME);
    size_t before = place == NULL ? strlen(sysctls[0]) : (size_t)(place - sysctls[0]);
    if (strlen(sysctls[0]) + IFNAMSIZ > sizeof key) return "bad sysctl name";
    snprintf(key, sizeof key, "%.*s%s%s", (int)before, sysctls[0], place == NULL ? "" : name, place == NULL ? "" : place + strlen(CARD_NAME));
    const char *failed = set_sysctl(key, sysctls[1]);
    if (failed != NULL) return failed;
  }
  return NULL;
}

static bool set_leased(const char *name, const char *address, uint32_t prefix) {
  struct card card = {.address = (char *)address, .prefix = prefix};
  struct in_addr set;
  return *address == 0 ? set_address(SIOCSIFADDR, name, 0) : set_address4(name, &card, &set);
}

bool network_set_leased(const char *name, const char *mac, const unsigned char hardware[6], const struct lease *before, const struct lease *lease, bool route) {
  char address[INET_ADDRSTRLEN] = "", router[INET_ADDRSTRLEN];
  const int interface = (int)if_nametoindex(name);
  const bool other = before->address.s_addr != lease->address.s_addr || before->prefix != lease->prefix;
  if (lease->address.s_addr != 0) inet_ntop(AF_INET, &lease->address, address, sizeof address);
  inet_ntop(AF_INET, &lease->router, router, sizeof router);
  if (other && !set_leased(name, address, lease->prefix)) return false;
  keep_leased(mac, address, lease->prefix);
  if (*address == 0) return true; /* its routes have gone with it */
  if (other) announce_address(interface, hardware, lease->address);
  return !route || lease->router.s_addr == 0 || route_by(AF_INET, router, interface);
}

/* `fresh`: it was plugged in, and nothing has prepared it. */
static const char *set_up(const char *current, const struct card *card, bool fresh) {
  static char problem[128];
  const char *name = card->name[0] == 0 ? current : card->name;
  unsigned char mac[6] = {0};
  struct in_addr address;
  struct in6_addr address6;
  if (!rename_nic(current, name)) goto failed;
  const char *failed = packet_filter_set(name, card->filter, card->filter_length); /* before it can be reached */
  if (failed != NULL) return failed;
  if (read_mac(card->mac, mac) && !set_mac(name, mac)) say("%s: cannot set the MAC: %s", name, cause());
  int interface = (int)if_nametoindex(name);
  if (card->mtu != 0 && !set_mtu(name, card->mtu)) goto failed;
  if (card->address6[0] != 0 ? !allow_ipv6(name) : fresh && !write_ipv6(name, "disable_ipv6", "1") && errno != ENOENT) goto failed;
  if (card->address[0] != 0 && !set_address4(name, card, &address)) goto failed;
  if (!set_flags(name, IFF_UP | IFF_RUNNING)) goto failed;
  if (card->address6[0] != 0 && !set_address6(interface, card, &address6)) goto failed;
  if (card->gateway[0] != 0 && !route_by(AF_INET, card->gateway, interface)) goto failed;
  if (card->gateway6[0] != 0 && !route_by(AF_INET6, card->gateway6, interface)) goto failed;
  if (card->address[0] != 0) announce_address(interface, mac, address);
  if (card->address6[0] != 0) announce_address6(interface, mac, &address6);
  remember(card);
  failed = set_sysctls(name, card->sysctls);
  return failed != NULL || card->dhcp == DHCP_NONE ? failed : leases_begin(name, mac, card);
failed:
  snprintf(problem, sizeof problem, "network interface %.16s: %s", name, cause());
  return problem;
}

const char *configure_nic(uint32_t index, const struct card *card) {
  char current[IFNAMSIZ];
  platform_nic(index, current);
  return set_up(current, card, false);
}

/* The card with this MAC address. A bridge that the container makes has that of one of its cards, and does not count. */
bool network_find(const char *text, char name[IFNAMSIZ]) {
  unsigned char mac[6];
  if (!read_mac(text, mac)) return false;
  struct if_nameindex *all = if_nameindex();
  bool found = false;
  for (struct if_nameindex *one = all; !found && one != NULL && one->if_index != 0; one++) {
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", one->if_name);
    if (ioctl(control(), SIOCGIFHWADDR, &r) != 0 || memcmp(r.ifr_hwaddr.sa_data, mac, 6) != 0 || !platform_is_nic(one->if_name)) continue;
    snprintf(name, IFNAMSIZ, "%s", one->if_name);
    found = true;
  }
  if (all != NULL) if_freenameindex(all);
  return found;
}

const char *network_set_up_hidden(const struct card *card) { return set_up(card->name, card, true); }

const char *add_nic(const struct card *card, bool *missing) {
  char current[IFNAMSIZ];
  *missing = !network_find(card->mac, current);
  if (*missing) return "the network card has not appeared in the machine";
  const char *failed = set_up(current, card, true);
  if (failed == NULL) report_addresses();
  return failed;
}

const char *remove_nic(const char *mac, const uint8_t *filter, size_t length) {
  char name[IFNAMSIZ];
  for (struct known *k = known; k < known + MAX_NICS; k++)
    if (strcmp(k->mac, mac) == 0) *k = (struct known){0};
  report_addresses();
  if (!network_find(mac, name)) return NULL;
  leases_end(name);
  set_address(SIOCSIFADDR, name, 0);
  write_ipv6(name, "disable_ipv6", "1");
  clear_up(name);
  return packet_filter_remove(name, filter, length);
}

const char *set_default_route(const char *gateway, const char *mac, bool ipv6) {
  static char problem[128];
  char name[IFNAMSIZ] = "";
  if (*mac != 0 && !network_find(mac, name) && *gateway != 0) return "the network card of the default route is not in the machine";
  if (!ipv6) leases_route(*name == 0 ? NULL : name);
  if (route_by(ipv6 ? AF_INET6 : AF_INET, gateway, *gateway == 0 ? 0 : (int)if_nametoindex(name))) return NULL;
  snprintf(problem, sizeof problem, "default route: %s", cause());
  return problem;
}
