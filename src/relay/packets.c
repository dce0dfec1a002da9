/* Whole packets for the inner namespace, with any source address: by raw sockets, which were opened before rights were given up. */
#include "relay.h"

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#define HOPS 64
/* Of an error message with what it quotes (RFC 4443, 2.4: no more than fits into 1280 bytes; RFC 1812: 576). */
#define QUOTED 512
/* What every IPv6 network carries, without its header, as a multiple of 8. */
#define PIECE 1232

static uint32_t add(uint32_t sum, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    for (; length > 1; bytes += 2, length -= 2) sum += (bytes[0] << 8) | bytes[1];
    return length ? sum + (bytes[0] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return htons(~sum & 0xffff);
}

uint16_t internet_checksum(const void *data, size_t length)
{
    return fold(add(0, data, length));
}

/* Including the pseudo header of RFC 793 and RFC 8200. */
static uint16_t checksum(const union address *from, const union address *to, uint8_t protocol, const void *data, size_t length)
{
    size_t size;
    const uint8_t *source = address_bytes(from, &size), *destination = address_bytes(to, &size);
    uint32_t sum = add(add(0, source, size), destination, size);
    return fold(add(sum + protocol + length, data, length));
}

size_t put_header(uint8_t *packet, const union address *from, const union address *to, uint8_t protocol, size_t length)
{
    if (to->any.sa_family == AF_INET) {
        /* The kernel fills in the checksum and the identification. */
        *(struct iphdr *)packet = (struct iphdr){
            .version = 4, .ihl = 5, .ttl = HOPS, .protocol = protocol,
            .tot_len = htons(sizeof(struct iphdr) + length),
            .saddr = from->four.sin_addr.s_addr, .daddr = to->four.sin_addr.s_addr};
        return sizeof(struct iphdr);
    }
    *(struct ip6_hdr *)packet = (struct ip6_hdr){
        .ip6_flow = htonl(6u << 28), .ip6_plen = htons(length), .ip6_nxt = protocol, .ip6_hlim = HOPS,
        .ip6_src = from->six.sin6_addr, .ip6_dst = to->six.sin6_addr};
    return sizeof(struct ip6_hdr);
}

static void send_whole(const int sockets[2], const uint8_t *packet, size_t length, const union address *to)
{
    union address where = *to;
    int fd = sockets[to->any.sa_family == AF_INET ? 0 : 1];
    /* For these sockets a port would be a protocol. */
    set_address_port(&where, 0);
    if (fd >= 0) (void)sendto(fd, packet, length, MSG_DONTWAIT, &where.any, address_length(&where));
}

void addresses_of(const uint8_t *packet, union address *from, union address *to, size_t *header)
{
    memset(from, 0, sizeof *from);
    memset(to, 0, sizeof *to);
    if (packet[0] >> 4 == 4) {
        const struct iphdr *ip = (const struct iphdr *)packet;
        from->any.sa_family = to->any.sa_family = AF_INET;
        from->four.sin_addr.s_addr = ip->saddr;
        to->four.sin_addr.s_addr = ip->daddr;
        *header = ip->ihl * 4;
        return;
    }
    const struct ip6_hdr *ip = (const struct ip6_hdr *)packet;
    from->any.sa_family = to->any.sa_family = AF_INET6;
    from->six.sin6_addr = ip->ip6_src;
    to->six.sin6_addr = ip->ip6_dst;
    *header = sizeof *ip;
}

void bring_in(const uint8_t *syn, size_t length)
{
    _Alignas(8) uint8_t packet[256];
    union address from, to;
    size_t header;
    if (length > sizeof packet) return;
    memcpy(packet, syn, length);
    addresses_of(packet, &from, &to, &header);
    /* A card may have left its checksum to be made by whoever needs it. */
    struct tcphdr *tcp = (struct tcphdr *)(packet + header);
    tcp->check = 0;
    tcp->check = checksum(&from, &to, IPPROTO_TCP, tcp, length - header);
    send_whole(inner.bringing, packet, length, &to);
}

void send_reset(const uint8_t *syn, const union address *from, const union address *to)
{
    _Alignas(8) uint8_t packet[sizeof(struct ip6_hdr) + sizeof(struct tcphdr)];
    union address source, destination;
    size_t header;
    addresses_of(syn, &source, &destination, &header);
    const struct tcphdr *asked = (const struct tcphdr *)(syn + header);
    size_t begin = put_header(packet, to, from, IPPROTO_TCP, sizeof(struct tcphdr));
    struct tcphdr *tcp = (struct tcphdr *)(packet + begin);
    *tcp = (struct tcphdr){
        .source = asked->dest, .dest = asked->source, .ack_seq = htonl(ntohl(asked->seq) + 1),
        .doff = sizeof *tcp / 4, .rst = 1, .ack = 1};
    tcp->check = checksum(to, from, IPPROTO_TCP, tcp, sizeof *tcp);
    send_whole(inner.raw, packet, begin + sizeof *tcp, from);
}

/* Raw sockets send whole packets: what does not fit into one is divided here (RFC 791, 3.2; RFC 8200, 4.5). */
static void send_pieces(const union address *from, const union address *to, uint8_t protocol, const uint8_t *message, size_t length)
{
    static uint16_t last;
    _Alignas(8) uint8_t packet[sizeof(struct ip6_hdr) + sizeof(struct ip6_frag) + PIECE];
    bool four = to->any.sa_family == AF_INET, divided = length > PIECE;
    uint16_t number = divided ? ++last ? last : ++last : 0;
    for (size_t at = 0; at < length; at += PIECE) {
        size_t size = length - at < PIECE ? length - at : PIECE;
        bool more = at + size < length;
        size_t extra = divided && !four ? sizeof(struct ip6_frag) : 0;
        size_t begin = put_header(packet, from, to, extra ? IPPROTO_FRAGMENT : protocol, extra + size);
        if (divided && four) {
            struct iphdr *ip = (struct iphdr *)packet;
            ip->id = htons(number);
            ip->frag_off = htons(at / 8 | (more ? IP_MF : 0));
        }
        if (extra)
            *(struct ip6_frag *)(packet + begin) = (struct ip6_frag){
                .ip6f_nxt = protocol, .ip6f_offlg = htons(at | more), .ip6f_ident = htonl(number)};
        memcpy(packet + begin + extra, message + at, size);
        send_whole(inner.raw, packet, begin + extra + size, to);
    }
}

void send_icmp(const union address *from, const union address *to, uint8_t *message, size_t length)
{
    bool four = to->any.sa_family == AF_INET;
    memset(message + 2, 0, 2);
    uint16_t sum = four ? internet_checksum(message, length) : checksum(from, to, IPPROTO_ICMPV6, message, length);
    memcpy(message + 2, &sum, 2);
    send_pieces(from, to, four ? IPPROTO_ICMP : IPPROTO_ICMPV6, message, length);
}

void send_error(const union address *from, const union address *to, uint8_t type, uint8_t code, uint32_t info, const uint8_t *packet,
                size_t length)
{
    uint8_t message[8 + QUOTED] = {type, code};
    if (length > QUOTED) length = QUOTED;
    info = htonl(info);
    memcpy(message + 4, &info, sizeof info);
    memcpy(message + 8, packet, length);
    send_icmp(from, to, message, 8 + length);
}

void send_unreachable(const uint8_t *packet, size_t length, const union address *from, const union address *to, enum why why)
{
    static const uint8_t codes4[] = {ICMP_HOST_UNREACH, ICMP_PORT_UNREACH, ICMP_PKT_FILTERED};
    static const uint8_t codes6[] = {ICMP6_DST_UNREACH_ADDR, ICMP6_DST_UNREACH_NOPORT, ICMP6_DST_UNREACH_ADMIN};
    bool four = to->any.sa_family == AF_INET;
    send_error(from, to, four ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH, four ? codes4[why] : codes6[why], 0, packet, length);
}

size_t quote_udp(uint8_t quote[UDP_QUOTE], const union address *from, const union address *to, const char *data, size_t length)
{
    size_t whole = sizeof(struct udphdr) + length;
    size_t begin = put_header(quote, from, to, IPPROTO_UDP, whole);
    *(struct udphdr *)(quote + begin) =
        (struct udphdr){.source = from->four.sin_port, .dest = to->four.sin_port, .len = htons(whole)};
    begin += sizeof(struct udphdr);
    if (length > UDP_QUOTE - begin) length = UDP_QUOTE - begin;
    memcpy(quote + begin, data, length);
    return begin + length;
}

void send_udp_unreachable(const union address *from, const union address *to, enum why why)
{
    _Alignas(8) uint8_t packet[UDP_QUOTE];
    send_unreachable(packet, quote_udp(packet, to, from, "", 0), from, to, why);
}
