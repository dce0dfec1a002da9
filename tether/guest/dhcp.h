/* An address from the network's own DHCP server, RFC 2131 (dhcp.c). Only cards on container networks that give addresses so have one. */
#ifndef DHCP_H
#define DHCP_H

#include "common.h"

#include <netinet/in.h>

/* What the server gave. */
struct lease {
  struct in_addr address, server, router; /* router: 0.0.0.0 if it told none */
  uint32_t prefix, seconds;               /* how long it may be used */
};

/*
 * Begins in a child of the tether, which gives the card its address, with the default route if that is wanted, renews it, and takes it away
 * when it has run out. Returns when there is an address, or after half a minute. NULL or what failed.
 */
const char *dhcp_begin(const char *name, const unsigned char mac[6], bool route, struct lease *lease);
/* Ends it for the card with this name; its address is the caller's. */
void dhcp_end(const char *name);

/* Reads an answer to request `number`: an IP packet for this card. 0: it is none; else its kind (RFC 2132, 9.6). */
uint8_t dhcp_read(const uint8_t *packet, size_t length, uint32_t number, const unsigned char mac[6], struct lease *lease);

#endif
