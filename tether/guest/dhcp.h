/* The protocol of DHCP, RFC 2131, as a client speaks it (dhcp.c, dhcp_packet.c). Which cards do is in leases.h. */
#ifndef DHCP_H
#define DHCP_H

#include "common.h"

#include <net/if.h>
#include <netinet/in.h>

#define MAX_LEASE_SERVERS 3

/* What a server gave. */
struct lease {
  struct in_addr address, server, router; /* address: 0.0.0.0 while there is none; router: if it told none */
  struct in_addr names[MAX_LEASE_SERVERS]; /* name servers; 0.0.0.0 behind the last */
  uint32_t prefix, seconds;                /* how long it may be used */
  uint8_t server_mac[6];                   /* whom it came from on this network: the server, or a router in between */
};

/* What a client tells: its card's lease has changed, or is lost. */
struct lease_news {
  char name[IFNAMSIZ];
  struct lease lease;
};

/*
 * Starts a client for a card, in a child of the tether, which writes a struct lease_news to `news` at every change. `held`: a lease to go on
 * with, which is renewed at once. -1: it could not be started.
 */
pid_t dhcp_start(const char *name, const unsigned char mac[6], const struct lease *held, int news);
/* Gives a lease back; the client must have ended. */
void dhcp_release(const char *name, const unsigned char mac[6], const struct lease *lease);

/* Reads an answer to request `number`: an IP packet for this card. 0: it is none; else its kind (RFC 2132, 9.6). */
uint8_t dhcp_read(const uint8_t *packet, size_t length, uint32_t number, const unsigned char mac[6], struct lease *lease);

#endif
