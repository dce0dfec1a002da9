/*
 * See network_messages.h. A card that is plugged in appears a little later: the request waits for the kernel to say so, while everything
 * else goes on.
 */
#include "network_messages.h"
#include "channel.h"
#include "container.h"
#include "leases.h"
#include "netlink.h"
#include "network.h"
#include "resolver.h"
#include "rewrite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20000

/* A card that is waited for. */
static struct awaited {
  uint32_t request;
  uint64_t until;
  bool leasing; /* it is there, and has yet to get its address */
  struct card card;
  uint8_t *filter; /* the card's, which was read from a message */
} awaited[MAX_NICS];
static size_t count;
static int links = -1;

int network_fd(void) { return links; }

static void answer(uint32_t request, const char *failed) { channel_send(MESSAGE_ANSWERED, request, failed, failed == NULL ? 0 : strlen(failed)); }

/* Listens before it looks, so that no card appears in between. */
static void listen_for_cards(void) {
  if (links >= 0) return;
  struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
  links = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (links >= 0 && bind(links, (struct sockaddr *)&to, sizeof to) != 0) say("cannot wait for network cards: %s", cause());
}

static void stop_listening(void) {
  if (links < 0 || count > 0) return;
  close(links);
  links = -1;
}

void network_look(void) {
  char news[4096];
  while (links >= 0 && recv(links, news, sizeof news, 0) > 0) continue;
  for (size_t i = count; i-- > 0;) {
    struct awaited *one = &awaited[i];
    const char *failed = NULL;
    if (!one->leasing) {
      bool missing;
      failed = add_nic(&one->card, &missing);
      if (missing && monotonic_ms() < one->until) continue;
      one->leasing = failed == NULL && one->card.dhcp != DHCP_NONE;
      if (one->leasing) one->until = monotonic_ms() + LEASE_WAIT_MS;
    }
    if (one->leasing && leases_address(one->card.mac) == NULL) {
      if (monotonic_ms() < one->until) continue;
      failed = "no DHCP server has given the container an address on this network";
    }
    answer(one->request, failed);
    card_free(&one->card);
    free(one->filter);
    memmove(one, one + 1, (--count - i) * sizeof *one);
  }
  stop_listening();
}

uint64_t network_due(void) {
  uint64_t due = UINT64_MAX;
  for (size_t i = 0; i < count; i++)
    if (awaited[i].until < due) due = awaited[i].until;
  return due;
}

static void add(uint32_t id, struct reader *payload) {
  struct card card = card_read(payload);
  if (payload->bad || count == MAX_NICS) {
    answer(id, payload->bad ? "damaged request" : "too many network cards");
    card_free(&card);
    return;
  }
  struct awaited *one = &awaited[count++];
  *one = (struct awaited){.request = id, .until = monotonic_ms() + WAIT_MS, .card = card};
  if (card.filter_length > 0 && (one->filter = malloc(card.filter_length)) == NULL) abort();
  if (one->filter != NULL) memcpy(one->filter, card.filter, card.filter_length);
  one->card.filter = one->filter;
  listen_for_cards();
  network_look();
}

static const char *set_routes(struct reader *payload) {
  char *gateway = read_string(payload), *mac = read_string(payload), *gateway6 = read_string(payload), *mac6 = read_string(payload);
  const char *failed = payload->bad ? "damaged request" : set_default_route(gateway, mac, false);
  if (failed == NULL) failed = set_default_route(gateway6, mac6, true);
  free(gateway), free(mac), free(gateway6), free(mac6);
  return failed;
}

static const char *rewrite_all(struct container *c, struct reader *payload) {
  const char *failed = NULL;
  while (failed == NULL && payload->at < payload->end && !payload->bad) {
    char *path = read_string(payload);
    uint8_t changed = read_u8(payload);
    char *content = read_string(payload);
    bool known = changed == CHANGED_LEFT || changed == CHANGED_MERGED;
    failed = payload->bad || !known ? "damaged request" : rewrite_file(c, path, changed, content);
    free(path), free(content);
  }
  return failed;
}

void network_message(struct container *c, enum message type, uint32_t id, struct reader *payload) {
  if (type == MESSAGE_NIC_ADD) {
    add(id, payload);
  } else if (type == MESSAGE_NIC_REMOVE) {
    char *mac = read_string(payload);
    answer(id, payload->bad ? "damaged request" : remove_nic(mac, payload->at, (size_t)(payload->end - payload->at)));
    free(mac);
  } else if (type == MESSAGE_ROUTES) {
    answer(id, set_routes(payload));
  } else if (type == MESSAGE_REWRITE) {
    answer(id, rewrite_all(c, payload));
  } else {
    char **servers = read_strings(payload);
    answer(id, payload->bad ? "damaged request" : resolver_set(c, servers));
    free_strings(servers);
  }
}
