/* Reads a DHCP server's answer: RFC 2131, 2, and RFC 2132. Whoever is on the network can send one, so nothing in it is taken on trust. */
#include "dhcp.h"

#include <netinet/ip.h>
#include <netinet/udp.h>
#include <string.h>

/* Of a BOOTP message: where its fields are, and where its options begin, behind four bytes that say so. */
#define NUMBER 4
#define YOUR_ADDRESS 16
#define CARD 28
#define COOKIE 236
#define OPTIONS 240
#define REPLY 2
#define SERVER_PORT 67
#define CLIENT_PORT 68
/* Longer ones are renewed as often: the host's switch forgets who has an address about a day after it was last given (LEASES in source-rules.ts). */
#define LONGEST_LEASE (24u * 3600)
#define SHORTEST_LEASE 10u

static const uint8_t cookie[] = {99, 130, 83, 99};
#define PAD 0
#define MASK 1
#define ROUTER 3
#define NAMES 6
#define LEASE_TIME 51
#define KIND 53
#define SERVER 54
#define END 255

static uint32_t number_of(const uint8_t *at) { return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]; }

static uint32_t prefix_of(uint32_t mask) {
  uint32_t prefix = 0;
  for (; mask & 0x80000000u; mask <<= 1) prefix++;
  return prefix;
}

static bool usable(uint32_t address) { return address >> 24 != 0 && address >> 24 != 127 && address >> 28 != 14 && address != 0xffffffffu; }

static void read_names(const uint8_t *value, uint8_t size, struct lease *lease) {
  for (uint8_t at = 0, count = 0; at + 4 <= size && count < MAX_LEASE_SERVERS; at += 4)
    if (usable(number_of(value + at))) lease->names[count++].s_addr = htonl(number_of(value + at));
}

uint8_t dhcp_read(const uint8_t *packet, size_t length, uint32_t number, const unsigned char mac[6], struct lease *lease) {
  struct iphdr ip;
  struct udphdr udp;
  if (length < sizeof ip) return 0;
  memcpy(&ip, packet, sizeof ip);
  size_t head = ip.ihl * 4u, total = ntohs(ip.tot_len);
  if (ip.version != 4 || head < sizeof ip || total > length || total < head + sizeof udp + OPTIONS || ip.protocol != IPPROTO_UDP || (ip.frag_off & htons(0x3fff)) != 0) return 0;
  memcpy(&udp, packet + head, sizeof udp);
  if (udp.source != htons(SERVER_PORT) || udp.dest != htons(CLIENT_PORT)) return 0;
  const uint8_t *message = packet + head + sizeof udp, *end = packet + total;
  if (message[0] != REPLY || number_of(message + NUMBER) != number || memcmp(message + CARD, mac, 6) != 0 || memcmp(message + COOKIE, cookie, sizeof cookie) != 0) return 0;
  *lease = (struct lease){.address.s_addr = htonl(number_of(message + YOUR_ADDRESS)), .prefix = 24, .seconds = 3600};
  uint8_t kind = 0;
  for (const uint8_t *at = message + OPTIONS; at < end && *at != END;) {
    if (*at == PAD) {
      at++;
      continue;
    }
    if (end - at < 2 || end - at < 2 + at[1]) return 0;
    const uint8_t option = at[0], size = at[1], *value = at + 2;
    if (option == KIND && size == 1) kind = *value;
    if (option == MASK && size == 4 && prefix_of(number_of(value)) > 0) lease->prefix = prefix_of(number_of(value));
    if (option == ROUTER && size >= 4 && usable(number_of(value))) lease->router.s_addr = htonl(number_of(value));
    if (option == NAMES) read_names(value, size, lease);
    if (option == SERVER && size == 4) lease->server.s_addr = htonl(number_of(value));
    if (option == LEASE_TIME && size == 4) lease->seconds = number_of(value);
    at += 2 + size;
  }
  if (lease->seconds < SHORTEST_LEASE) lease->seconds = SHORTEST_LEASE;
  if (lease->seconds > LONGEST_LEASE) lease->seconds = LONGEST_LEASE;
  const bool gives = kind == 2 || kind == 5;
  return gives && !usable(ntohl(lease->address.s_addr)) ? 0 : kind;
}
