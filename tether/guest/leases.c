/* See leases.h. A client for each card runs in a child (dhcp.c); it only tells what it was given, and everything is set here. */
#include "leases.h"
#include "network.h"
#include "packet_filter.h"
#include "resolver.h"
#include "rpc.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct asked {
  char name[IFNAMSIZ]; /* '' for an entry that is free */
  char mac[20], address[INET_ADDRSTRLEN];
  unsigned char hardware[6];
  pid_t client;      /* 0: it has ended */
  uint64_t start_at; /* monotonic ms; while there is no client */
  bool route; /* the default route leads by its router */
  uint8_t *filter;
  size_t filter_length;
  struct lease lease;
} cards[MAX_NICS];

/* After a client that ended at once, the next one waits this long. */
#define PAUSE_MS 1000

#define each_asked(a) (struct asked *a = cards; a < cards + MAX_NICS; a++) if (a->name[0] != 0)

static int news[2] = {-1, -1};

int leases_fd(void) { return news[0]; }

static struct asked *find(const char *name) {
  for each_asked(a)
    if (strcmp(a->name, name) == 0) return a;
  return NULL;
}

/* The host's picture: `MAC=address/prefix,router`, separated by semicolons; without an address while there is none. */
static void report(void) {
  char all[MAX_NICS * 56] = "";
  size_t told = 0;
  for each_asked(a) {
    char router[INET_ADDRSTRLEN] = "";
    if (a->lease.router.s_addr != 0) inet_ntop(AF_INET, &a->lease.router, router, sizeof router);
    told += (size_t)snprintf(all + told, sizeof all - told, "%s%s=", told == 0 ? "" : ";", a->mac);
    if (a->address[0] != 0) told += (size_t)snprintf(all + told, sizeof all - told, "%s/%u,%s", a->address, a->lease.prefix, router);
  }
  rpc_tell(LEASES_KEY, all);
}

/* Peers are the addresses of the card's own subnet. */
static void settle_filter(const struct asked *a) {
  uint32_t mask = a->lease.prefix == 0 ? 0 : htonl(~0u << (32 - a->lease.prefix));
  const struct in_addr first = {a->lease.address.s_addr & mask}, last = {a->lease.address.s_addr | ~mask};
  if (a->filter_length == 0 || a->address[0] == 0) return;
  const char *failed = packet_filter_set_peers(a->name, a->filter, a->filter_length, first, last);
  if (failed != NULL) say("%s", failed);
}

static void take(const struct lease_news *told) {
  struct asked *a = find(told->name);
  if (a == NULL) return; /* it has ended meanwhile */
  const struct lease before = a->lease;
  a->lease = told->lease;
  a->address[0] = 0;
  if (a->lease.address.s_addr != 0) inet_ntop(AF_INET, &a->lease.address, a->address, sizeof a->address);
  settle_filter(a);
  if (!network_set_leased(a->name, a->mac, a->hardware, &before, &a->lease, a->route)) say("%s: an address from DHCP cannot be set: %s", a->name, cause());
  resolver_settle();
  report();
}

static void start_client(struct asked *a) {
  a->start_at = monotonic_ms() + PAUSE_MS;
  a->client = dhcp_start(a->name, a->hardware, &a->lease, news[1]);
  if (a->client < 0) a->client = 0;
}

void leases_look(void) {
  struct lease_news told;
  while (news[0] >= 0 && read(news[0], &told, sizeof told) == (ssize_t)sizeof told) take(&told);
  for each_asked(a)
    if (a->client == 0 && monotonic_ms() >= a->start_at) start_client(a);
}

uint64_t leases_due(void) {
  uint64_t due = UINT64_MAX;
  for each_asked(a)
    if (a->client == 0 && a->start_at < due) due = a->start_at;
  return due;
}

void leases_ended(pid_t pid) {
  for each_asked(a)
    if (a->client == pid && pid != 0) a->client = 0;
}

const char *leases_begin(const char *name, const unsigned char mac[6], const struct card *card) {
  if (card->dhcp != DHCP_ADDRESS && card->dhcp != DHCP_ROUTE) return "damaged step";
  if (news[0] < 0 && pipe2(news, O_CLOEXEC | O_NONBLOCK) != 0) return "no room for a DHCP client";
  leases_end(name);
  struct asked *a = cards;
  while (a < cards + MAX_NICS && a->name[0] != 0) a++;
  if (a == cards + MAX_NICS) return "no room for another DHCP client";
  *a = (struct asked){.route = card->dhcp == DHCP_ROUTE};
  snprintf(a->name, sizeof a->name, "%s", name);
  snprintf(a->mac, sizeof a->mac, "%s", card->mac);
  memcpy(a->hardware, mac, 6);
  if (card->filter_length > 0) {
    if ((a->filter = malloc(card->filter_length)) == NULL) abort();
    memcpy(a->filter, card->filter, a->filter_length = card->filter_length);
  }
  start_client(a);
  return NULL;
}

void leases_end(const char *name) {
  struct asked *a = find(name);
  if (a == NULL) return;
  if (a->client > 0) kill(a->client, SIGKILL);
  dhcp_release(a->name, a->hardware, &a->lease);
  free(a->filter);
  *a = (struct asked){0};
  resolver_settle();
}

void leases_end_all(void) {
  for each_asked(a) leases_end(a->name);
}

void leases_renew(void) {
  for each_asked(a) {
    if (a->client > 0) kill(a->client, SIGKILL);
    start_client(a);
  }
}

const char *leases_await(void) {
  const uint64_t until = monotonic_ms() + LEASE_WAIT_MS;
  for each_asked(a)
    while (a->address[0] == 0) {
      uint64_t now = monotonic_ms();
      struct pollfd one = {news[0], POLLIN, 0};
      if (now >= until) return "no DHCP server has given the container an address";
      if (poll(&one, 1, (int)(until - now)) > 0) leases_look();
    }
  return NULL;
}

const char *leases_address(const char *mac) {
  for each_asked(a)
    if (strcasecmp(a->mac, mac) == 0) return a->address[0] == 0 ? NULL : a->address;
  return NULL;
}

void leases_route(const char *name) {
  for each_asked(a) a->route = name != NULL && strcmp(a->name, name) == 0;
}

size_t leases_name_servers(struct in_addr *to, size_t most) {
  size_t count = 0;
  for each_asked(a)
    for (size_t i = 0; i < MAX_LEASE_SERVERS && a->lease.names[i].s_addr != 0 && count < most; i++) to[count++] = a->lease.names[i];
  return count;
}

char *leases_fill_in(const char *content) {
  static const char mark[] = "dhcp:";
  const size_t mac_length = strlen("00:00:00:00:00:00");
  /* An address is shorter than what stands for it. */
  char *text = malloc(strlen(content) + 1), *end = text;
  if (text == NULL) abort();
  while (*content != 0) {
    size_t length = strcspn(content, "\n");
    length += content[length] == '\n';
    if (strncmp(content, mark, strlen(mark)) == 0 && length > strlen(mark) + mac_length) {
      char mac[20];
      snprintf(mac, sizeof mac, "%.*s", (int)mac_length, content + strlen(mark));
      const char *address = leases_address(mac);
      if (address != NULL) {
        end = stpcpy(end, address);
        end = mempcpy(end, content + strlen(mark) + mac_length, length - strlen(mark) - mac_length);
      }
    } else {
      end = mempcpy(end, content, length);
    }
    content += length;
  }
  *end = 0;
  return text;
}
