/* Telling the neighbours which card has an address now (announce.c). */
#ifndef ANNOUNCE_H
#define ANNOUNCE_H

#include <netinet/in.h>

/* A neighbour may still know another card by this address, which was another container's: it would send there for a while. */
void announce_address(int interface, const unsigned char mac[6], struct in_addr address);
void announce_address6(int interface, const unsigned char mac[6], const struct in6_addr *address);

#endif
