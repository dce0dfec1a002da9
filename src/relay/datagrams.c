/*
 * UDP. A flow is what one client sends to one place, and the answers. Its socket towards the server is connected, so that the system passes
 * on nothing from anybody else.
 */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BUCKETS 8192
/* Two sockets; a flow of a port has one. */
#define DESCRIPTORS 2
/* That are passed on before others have their turn. */
#define MOST_COMPLAINTS 16
#define USUAL_HOPS 64
/* Without an answer, and with one: what netfilter's connection tracking takes, RFC 4787 asks for two minutes. */
#define IDLE_MS 30000
#define ANSWERED_IDLE_MS 120000

struct flow {
    struct watch server;
    /* Of a container that sends to the world: bound to the address that it sends to. */
    struct watch client;
    /* NULL: outward. */
    struct port *port;
    union address from, to;
    /* Of the machine's addresses, the one that the client has sent to; AF_UNSPEC: not known. */
    union address here;
    struct owner *owner;
    uint64_t ends;
    bool answered;
    bool inward;
    /* How many routers its packets may pass; 0: as many as usual. */
    int hops;
    /* They are not to be divided. */
    bool whole;
    SLIST_ENTRY(flow) next;
    TAILQ_ENTRY(flow) by_age;
};

static SLIST_HEAD(bucket, flow) flows[BUCKETS];

static struct bucket *bucket_of(const struct port *port, const union address *from, const union address *to)
{
    uint32_t hash = hash_address(from) * 31 + hash_address(to) + (port ? (uint32_t)port->id * 2654435761u : 0);
    return &flows[hash % BUCKETS];
}

static void end_flow(struct flow *flow)
{
    SLIST_REMOVE(bucket_of(flow->port, &flow->from, &flow->to), flow, flow, next);
    TAILQ_REMOVE(&flow->owner->oldest_first, flow, by_age);
    flow->owner->datagrams--;
    note_open(flow->owner, -DESCRIPTORS);
    end_watching(&flow->server);
    end_watching(&flow->client);
    bury(flow);
}

static void touch(struct flow *flow)
{
    flow->ends = now + (flow->answered ? ANSWERED_IDLE_MS : IDLE_MS);
    TAILQ_REMOVE(&flow->owner->oldest_first, flow, by_age);
    TAILQ_INSERT_TAIL(&flow->owner->oldest_first, flow, by_age);
}

/* Whether a packet may pass at its container's rate; then it is counted. */
static bool count_packet(struct flow *flow, size_t length, bool to_container)
{
    touch(flow);
    if (!may_pass(to_container ? &flow->owner->to : &flow->owner->from, length)) return false;
    *(to_container ? &flow->owner->in : &flow->owner->out) += length;
    return true;
}

/* An answer of a published port has the address that the client has sent to. */
static void answer(struct flow *flow, const struct datagram *packet)
{
    struct datagram out = {.from = flow->here, .to = flow->from, .data = packet->data, .length = packet->length};
    (void)send_datagram(flow->port->watch.fd, &out);
}

static void take_answer(void *whom, const struct datagram *packet)
{
    struct flow *flow = whom;
    /* One that came before the socket was connected may be anybody's. */
    if (!same_address(&packet->from, &flow->to)) return;
    flow->answered = true;
    if (!count_packet(flow, packet->length, !flow->inward)) return;
    if (flow->port)
        answer(flow, packet);
    else
        (void)send(flow->client.fd, packet->data, packet->length, MSG_DONTWAIT);
}

/* The network's complaints say more than the error number, but the other side's own socket may be on this machine. */
static void server_failed(void *whom, int number)
{
    struct flow *flow = whom;
    if (flow->inward && number == ECONNREFUSED) tell_client_unreachable(&flow->from, &flow->here);
}

static void pass_on_complaints(struct flow *flow)
{
    _Alignas(8) uint8_t quote[UDP_QUOTE];
    struct complaint said;
    for (int turn = 0; turn < MOST_COMPLAINTS && next_complaint(flow->server.fd, &said); turn++)
        pass_on_complaint(&said, quote, quote_udp(quote, &flow->from, &flow->to, said.data, said.length), &flow->from);
}

static void server_ready(struct watch *watch, uint32_t events)
{
    struct flow *flow = (struct flow *)watch;
    if (!flow->port && (events & EPOLLERR)) pass_on_complaints(flow);
    receive_datagrams(watch->fd, flow, take_answer, server_failed);
}

/* Of a container's packet that comes to the end of its way here. */
static void expire(const struct flow *flow, const struct datagram *packet)
{
    _Alignas(8) uint8_t quote[UDP_QUOTE];
    expire_at_gateway(quote, quote_udp(quote, &flow->from, &flow->to, packet->data, packet->length), &flow->from);
}

/* The packet is to pass as many routers as the container's could still pass, and is divided only if that was allowed. */
static void send_alike(struct flow *flow, const struct datagram *packet)
{
    int hops = is_probing(packet->hops) ? packet->hops - 1 : 0;
    int divide = packet->whole ? IP_PMTUDISC_DO : IP_PMTUDISC_WANT;
    if (hops != flow->hops) set_hops(flow->server.fd, flow->to.any.sa_family, hops);
    if (packet->whole != flow->whole) (void)setsockopt(flow->server.fd, SOL_IP, IP_MTU_DISCOVER, &divide, sizeof divide);
    flow->hops = hops;
    flow->whole = packet->whole;
}

static void pass_on(struct flow *flow, const struct datagram *packet)
{
    if (!count_packet(flow, packet->length, flow->inward)) return;
    if (!flow->port && packet->hops == 1) {
        expire(flow, packet);
        return;
    }
    if (!flow->port) send_alike(flow, packet);
    /* An error of a packet before is told first. */
    for (int attempt = 0; attempt < 2; attempt++) {
        if (send(flow->server.fd, packet->data, packet->length, MSG_DONTWAIT) >= 0) return;
        if (flow->port) server_failed(flow, errno);
        if (errno == EAGAIN || errno == EMSGSIZE) return;
    }
}

static void take_from_client(void *whom, const struct datagram *packet)
{
    struct flow *flow = whom;
    if (same_address(&packet->from, &flow->from)) pass_on(flow, packet);
}

/* The container has no interest in answers any more; its next packet may be heard. */
static void client_failed(void *whom, int number)
{
    (void)whom;
    (void)number;
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct flow *flow = (struct flow *)((char *)watch - offsetof(struct flow, client));
    (void)events;
    receive_datagrams(watch->fd, flow, take_from_client, client_failed);
}

/* A socket inside from which answers come as if the server itself had sent them. */
static int stand_in(const union address *server, const union address *client)
{
    int on = 1, fd = make_socket(true, server->any.sa_family, SOCK_DGRAM);
    if (fd < 0) return -1;
    ask_for_details(fd, server->any.sa_family);
    /* Others use the same server. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!bind(fd, &server->any, address_length(server)) && !connect(fd, &client->any, address_length(client))) return fd;
    close(fd);
    return -1;
}

/* Whether there is room for another one, if need be in place of the container's oldest. */
static bool make_room(struct owner *owner)
{
    while (owner->datagrams >= limits.datagrams_each || !may_open(owner, DESCRIPTORS)) {
        if (TAILQ_EMPTY(&owner->oldest_first)) {
            tell_full();
            return false;
        }
        end_flow(TAILQ_FIRST(&owner->oldest_first));
    }
    return true;
}

/* NULL if there can be none. `hops`: those that the packet has left. */
static struct flow *begin_flow(struct port *port, const union address *from, const union address *to, int hops)
{
    bool inward = port && port->inward;
    struct owner *owner = owner_of(inward ? to : from);
    if (!owner || !make_room(owner)) return NULL;
    int server = dial(inward, SOCK_DGRAM, to, inward ? from : NULL, port ? 0 : hops), client = -1;
    if (server < 0) {
        if (!port) send_udp_unreachable(to, from, WHY_HOST);
        return NULL;
    }
    struct flow *flow = NULL;
    if ((!port && (client = stand_in(to, from)) < 0) || !(flow = calloc(1, sizeof *flow))) {
        if (client >= 0) close(client);
        close(server);
        return NULL;
    }
    *flow = (struct flow){
        .server = {.fd = server, .ready = server_ready},
        .client = {.fd = client, .ready = client_ready},
        .port = port,
        .from = *from,
        .to = *to,
        .owner = owner,
        .inward = inward,
        .hops = !port && is_probing(hops) ? hops - 1 : 0,
    };
    SLIST_INSERT_HEAD(bucket_of(port, from, to), flow, next);
    TAILQ_INSERT_TAIL(&owner->oldest_first, flow, by_age);
    owner->datagrams++;
    owner->flows++;
    note_open(owner, DESCRIPTORS);
    if (!start_watching(&flow->server, EPOLLIN) || (client >= 0 && !start_watching(&flow->client, EPOLLIN))) {
        end_flow(flow);
        return NULL;
    }
    return flow;
}

static struct flow *find(const struct port *port, const union address *from, const union address *to)
{
    struct flow *flow;
    SLIST_FOREACH(flow, bucket_of(port, from, to), next)
        if (flow->port == port && same_address(&flow->from, from) && same_address(&flow->to, to)) return flow;
    return NULL;
}

static void take_for_port(void *whom, const struct datagram *packet)
{
    struct port *port = whom;
    struct flow *flow = find(port, &packet->from, &port->target);
    if (!flow) flow = begin_flow(port, &packet->from, &port->target, 0);
    if (!flow) return;
    flow->here = packet->to;
    pass_on(flow, packet);
}

static void take_outward(void *whom, const struct datagram *packet)
{
    (void)whom;
    if (packet->to.any.sa_family == AF_UNSPEC) return;
    struct flow *flow = find(NULL, &packet->from, &packet->to);
    if (!flow) {
        enum verdict verdict = destination_verdict(&packet->to, false);
        if (verdict == ALLOWED)
            flow = begin_flow(NULL, &packet->from, &packet->to, packet->hops ? packet->hops : USUAL_HOPS);
        else
            send_udp_unreachable(&packet->to, &packet->from, verdict == REFUSED ? WHY_FORBIDDEN : WHY_HOST);
    }
    if (flow) pass_on(flow, packet);
}

void receive_for_port(struct port *port)
{
    receive_datagrams(port->watch.fd, port, take_for_port, client_failed);
}

void receive_outward(int fd)
{
    receive_datagrams(fd, NULL, take_outward, client_failed);
}

void end_flows(struct port *port)
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct flow *flow = SLIST_FIRST(&flows[bucket]);
        while (flow) {
            struct flow *next = SLIST_NEXT(flow, next);
            if (flow->port == port) end_flow(flow);
            flow = next;
        }
    }
}

void check_flows(void)
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct flow *flow = SLIST_FIRST(&flows[bucket]);
        while (flow) {
            struct flow *next = SLIST_NEXT(flow, next);
            if (flow->ends <= now) end_flow(flow);
            flow = next;
        }
    }
}
