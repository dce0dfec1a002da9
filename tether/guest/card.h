/* A network card as the host wants it (card.c). */
#ifndef CARD_H
#define CARD_H

#include "buffer.h"

/* Empty strings and 0 where there is nothing. Only the main card has gateways. */
struct card {
  char *name, *mac;
  uint32_t mtu;
  char *address, *gateway, *address6, *gateway6;
  uint32_t prefix, prefix6;
  uint8_t dhcp;                 /* enum dhcp: whether it has its address of a server of the network's */
  char **sysctls;               /* keys and values, in turn; `IFNAME` in a key is the card's name */
  const uint8_t *filter;        /* packet_filter.h; belongs to whoever read the card */
  size_t filter_length;
};
/* Reads one, to the end of the fields. */
struct card card_read(struct reader *r);
void card_free(struct card *card);

/* A card that the container neither sees nor reaches (hidden_net.h): IPv4 alone, without a gateway. */
struct hidden_card {
  uint32_t index; /* NO_CARD_NUMBER: it is plugged in, and found by its MAC address */
  char *mac, *address;
  uint32_t prefix, mtu; /* mtu 0: the usual one */
};
struct hidden_card hidden_card_read(struct reader *r);
void hidden_card_free(struct hidden_card *card);

#endif
