/*
 * ICMP echo. A request of a container is sent on from the machine under another identifier, by which its answer is known. Only one request
 * in flight is remembered of each `ping`: they have one identifier and many sequence numbers.
 */
#include "relay.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#define IDLE_MS 30000
#define TURN 64
/* Identifiers that are in use at a time; a quarter of those that there are. */
#define MOST 16384

struct echo {
    union address from, to;
    struct owner *owner;
    uint16_t asked;
    uint64_t ends;
};

/* By the identifier outside. */
static struct echo *echoes[65536];
static unsigned count;
static uint16_t next_id;
static struct watch sockets[2];
static _Alignas(8) uint8_t message[65536];

static void end_echo(uint16_t id)
{
    echoes[id]->owner->echoes--;
    count--;
    free(echoes[id]);
    echoes[id] = NULL;
}

static void ready(struct watch *watch, uint32_t events)
{
    (void)events;
    for (int turn = 0; turn < TURN; turn++) {
        union address from;
        socklen_t room = sizeof from;
        ssize_t length = recvfrom(watch->fd, message, sizeof message, MSG_DONTWAIT, &from.any, &room);
        size_t begin = 0;
        uint16_t id;
        if (length < 0) {
            if (errno == EAGAIN) return;
            continue;
        }
        bool four = watch == &sockets[0];
        /* IPv4 packets come with their header. */
        if (four) begin = length > 0 ? (message[0] & 15) * 4 : 0;
        if (length < (ssize_t)begin + 8 || message[begin] != (four ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY)) continue;
        memcpy(&id, message + begin + 4, 2);
        struct echo *echo = echoes[ntohs(id)];
        if (!echo || !same_host(&echo->to, &from)) continue;
        echo->owner->in += length - begin;
        id = htons(echo->asked);
        memcpy(message + begin + 4, &id, 2);
        send_icmp(&echo->to, &echo->from, message + begin, length - begin);
    }
}

/* Only answers: everything else that the machine receives is none of our business. */
static int open_socket(int family)
{
    int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    if (fd < 0) return -1;
    if (family == AF_INET) {
        struct icmp_filter filter = {.data = ~(1u << ICMP_ECHOREPLY)};
        (void)setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof filter);
    } else {
        struct icmp6_filter filter;
        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
        (void)setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
    }
    return fd;
}

void open_echoes(void)
{
    if (getrandom(&next_id, sizeof next_id, 0) < 0) fail("random numbers");
    for (int kind = 0; kind < 2; kind++) {
        sockets[kind] = (struct watch){.fd = open_socket(kind ? AF_INET6 : AF_INET), .ready = ready};
        if (sockets[kind].fd >= 0 && !start_watching(&sockets[kind], EPOLLIN)) fail("watching echoes");
    }
}

static int identifier(const union address *from, const union address *to, uint16_t asked)
{
    for (unsigned id = 0; id < 65536; id++) {
        struct echo *echo = echoes[id];
        if (echo && echo->asked == asked && same_host(&echo->from, from) && same_host(&echo->to, to)) return id;
    }
    struct owner *owner = owner_of(from);
    if (!owner || owner->echoes >= limits.echoes_each || count >= MOST) return -1;
    struct echo *echo = malloc(sizeof *echo);
    if (!echo) return -1;
    while (echoes[next_id]) next_id++;
    *echo = (struct echo){.from = *from, .to = *to, .owner = owner, .asked = asked};
    owner->echoes++;
    owner->flows++;
    count++;
    echoes[next_id] = echo;
    return next_id++;
}

void note_echo(const uint8_t *request, size_t length, const union address *from, const union address *to)
{
    uint16_t asked, id;
    int fd = sockets[to->any.sa_family == AF_INET ? 0 : 1].fd;
    enum verdict verdict = destination_verdict(from, to, false);
    if (fd < 0 || verdict != ALLOWED || length > sizeof message) return;
    memcpy(&asked, request + 4, 2);
    int outside = identifier(from, to, ntohs(asked));
    if (outside < 0) return;
    echoes[outside]->ends = now + IDLE_MS;
    echoes[outside]->owner->out += length;
    id = htons(outside);
    memcpy(message, request, length);
    memcpy(message + 4, &id, 2);
    /* The kernel makes the checksum of ICMPv6. */
    memset(message + 2, 0, 2);
    if (to->any.sa_family == AF_INET) {
        uint16_t sum = internet_checksum(message, length);
        memcpy(message + 2, &sum, 2);
    }
    union address where = *to;
    set_address_port(&where, 0);
    (void)sendto(fd, message, length, MSG_DONTWAIT, &where.any, address_length(&where));
}

void check_echoes(void)
{
    for (unsigned id = 0; id < 65536 && count; id++)
        if (echoes[id] && echoes[id]->ends <= now) end_echo(id);
}
