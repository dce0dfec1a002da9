/* See hidden_net.h. */
#include "hidden_net.h"
#include "netlink.h"
#include "network.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20000
#define OWN "/proc/self/ns/net"

int hidden_make(void) {
  int own = open(OWN, O_RDONLY | O_CLOEXEC), made = -1;
  if (own >= 0 && unshare(CLONE_NEWNET) == 0) {
    made = open(OWN, O_RDONLY | O_CLOEXEC);
    if (setns(own, CLONE_NEWNET) != 0) abort(); /* in the wrong namespace, nothing is right any more */
  }
  if (own >= 0) close(own);
  return made;
}

/* Listens before it looks, so that no card appears in between. */
static bool await_card(const char *mac, char name[IFNAMSIZ]) {
  const uint64_t until = monotonic_ms() + WAIT_MS;
  struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
  int links = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (links < 0 || bind(links, (struct sockaddr *)&to, sizeof to) != 0) return false;
  bool found;
  for (uint64_t now; !(found = network_find(mac, name)) && (now = monotonic_ms()) < until;) {
    char news[4096];
    struct pollfd p = {links, POLLIN, 0};
    poll(&p, 1, (int)(until - now));
    while (recv(links, news, sizeof news, 0) > 0) continue;
  }
  close(links);
  if (!found) errno = ENODEV;
  return found;
}

static bool move_card(const char *name, int namespace) {
  const struct ifinfomsg fixed = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(name)};
  struct netlink_request request;
  netlink_begin(&request, RTM_NEWLINK, 0, &fixed, sizeof fixed);
  netlink_attribute(&request, IFLA_NET_NS_FD, &namespace, sizeof namespace);
  return netlink_ask(&request);
}

const char *hidden_enter(int namespace, const struct hidden_card *card) {
  static char nothing[] = "", *no_sysctls[] = {NULL};
  char name[IFNAMSIZ];
  network_forget_sockets();
  if (card->index != NO_CARD_NUMBER) platform_nic(card->index, name);
  else if (!await_card(card->mac, name)) return "the network card of a volume has not appeared in the machine";
  if (!move_card(name, namespace) || setns(namespace, CLONE_NEWNET) != 0) return "the network card of a volume cannot be hidden";
  network_forget_sockets();
  loopback_up();
  const struct card plain = {.name = name, .mac = card->mac, .mtu = card->mtu, .address = card->address, .prefix = card->prefix, .gateway = nothing, .address6 = nothing, .gateway6 = nothing, .sysctls = no_sysctls};
  return network_set_up_hidden(&plain);
}
