/* The cards that get their addresses of their networks' own DHCP servers (leases.c): only some on container networks do. */
#ifndef LEASES_H
#define LEASES_H

#include "card.h"
#include "dhcp.h"

/* How long a container, or who connects it to a network, waits for an address. */
#define LEASE_WAIT_MS 15000

/* Asks for an address for this card, until leases_end. NULL or what failed. */
const char *leases_begin(const char *name, const unsigned char mac[6], const struct card *card);
/* Takes the card's address, and gives it back to the server. Nothing if it has none of this kind. */
void leases_end(const char *name);
void leases_end_all(void);
/* Waits until all cards have an address. NULL or what failed. */
const char *leases_await(void);
/* NULL: the card with this MAC address has none, or is not asked for. Else its address. */
const char *leases_address(const char *mac);

/* To poll for changes; -1: no card is asked for. */
int leases_fd(void);
/* Takes in what has changed: addresses, routes, name servers. */
void leases_look(void);
/* A child of the tether has ended: a client is started again, a little later. */
void leases_ended(pid_t pid);
/* When leases_look is to be called at the latest, in monotonic ms; UINT64_MAX: not before there is news. */
uint64_t leases_due(void);
/* The clock has stood still: renews all. */
void leases_renew(void);
/* By the card of which name the default route leads, if its server tells a router; NULL: by none of these. */
void leases_route(const char *name);
/* The name servers of all cards' servers; returns how many. */
size_t leases_name_servers(struct in_addr *to, size_t most);
/* A file's content with addresses for `dhcp:<MAC>` at the beginning of lines; lines of cards without one are left out. The caller owns it. */
char *leases_fill_in(const char *content);

#endif
