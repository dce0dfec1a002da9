/* See announce.h: an ARP announcement (RFC 5227) and an unsolicited neighbour advertisement (RFC 4861, 7.2.6). */
#include "announce.h"
#include "common.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void announce_address(int interface, const unsigned char mac[6], struct in_addr address) {
  struct ether_arp arp = {.ea_hdr = {htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), 6, 4, htons(ARPOP_REQUEST)}};
  memcpy(arp.arp_sha, mac, 6);
  memcpy(arp.arp_spa, &address, 4);
  memcpy(arp.arp_tpa, &address, 4);
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_ARP), .sll_ifindex = interface, .sll_halen = 6};
  memset(to.sll_addr, 0xff, 6);
  int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (sendto(fd, &arp, sizeof arp, 0, (struct sockaddr *)&to, sizeof to) < 0) say("an address is not announced: %s", cause());
  close(fd);
}

void announce_address6(int interface, const unsigned char mac[6], const struct in6_addr *address) {
  struct {
    struct nd_neighbor_advert head;
    struct nd_opt_hdr option;
    unsigned char mac[6];
  } told = {.head = {.nd_na_hdr = {.icmp6_type = ND_NEIGHBOR_ADVERT}, .nd_na_target = *address}, .option = {ND_OPT_TARGET_LINKADDR, 1}};
  told.head.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
  memcpy(told.mac, mac, 6);
  struct sockaddr_in6 from = {.sin6_family = AF_INET6, .sin6_addr = *address}, to = {.sin6_family = AF_INET6, .sin6_scope_id = (uint32_t)interface};
  inet_pton(AF_INET6, "ff02::1", &to.sin6_addr);
  int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6), hops = 255;
  if (fd < 0) return;
  if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, sizeof interface) != 0 ||
      setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) != 0 || sendto(fd, &told, sizeof told, 0, (struct sockaddr *)&to, sizeof to) < 0)
    say("an address is not announced: %s", cause());
  close(fd);
}
