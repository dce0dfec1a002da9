/*
 * Two connections that are one: what comes from one side goes to the other, its end and its reset too. What the other side does not take yet
 * is held, in a pipe if it is much, and then nothing more is read: so a slow reader slows the writer.
 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CHUNK (1024 * 1024)
/* What is less is copied. */
#define PIECE (16 * 1024)
/* What one pair may move before the others have their turn. */
#define TURN (4 * 1024 * 1024)
/* How long the other side may take to read the last words of one that is gone. */
#define GONE_MS 60000
/* A reset that follows so soon after data comes from a program that closed without having read everything: what it said counts. */
#define LAST_WORDS_MS 2000
/* Two sockets. */
#define DESCRIPTORS 2

static TAILQ_HEAD(, pair) all = TAILQ_HEAD_INITIALIZER(all);

void reset_socket(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
}

static void drop_held(struct held *held)
{
    if (held->pipe) put_pipe(held->pipe, !held->bytes);
    free(held->rest);
    *held = (struct held){0};
}

static void end_pair(struct pair *pair)
{
    for (int at = CLIENT; at <= SERVER; at++) {
        leave_queue(&pair->sides[at].turn);
        end_watching(&pair->sides[at].watch);
        drop_held(&pair->held[at]);
    }
    if (pair->port) TAILQ_REMOVE(&pair->port->pairs, pair, of_port);
    TAILQ_REMOVE(&all, pair, of_all);
    note_open(pair->owner, -DESCRIPTORS);
    bury(pair);
}

void abort_pair(struct pair *pair)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    for (int at = CLIENT; at <= SERVER; at++)
        if (pair->sides[at].watch.fd >= 0)
            (void)setsockopt(pair->sides[at].watch.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    end_pair(pair);
}

static bool is_transient(int error)
{
    return error == EAGAIN || error == EINTR;
}

/* Takes from a side whose other side is gone, so that it can come to its end. */
static ssize_t discard(struct side *side)
{
    return recv(side->watch.fd, NULL, CHUNK, MSG_TRUNC | MSG_DONTWAIT);
}

static struct meter *meter_of(const struct pair *pair, int at)
{
    return (at == CLIENT) == pair->inward ? &pair->owner->to : &pair->owner->from;
}

static void count_bytes(struct pair *pair, int at, size_t bytes)
{
    pair->sides[at].heard = now;
    carried(meter_of(pair, at), bytes);
    *((at == CLIENT) == pair->inward ? &pair->owner->in : &pair->owner->out) += bytes;
}

/* What the other side did not take at once. */
static bool keep(struct held *held, const char *data, size_t bytes)
{
    held->rest = malloc(bytes);
    if (!held->rest) return false;
    memcpy(held->rest, data, bytes);
    held->at = 0;
    held->bytes = bytes;
    return true;
}

/*
 * Carries a small piece by copying it, which costs two calls where a pipe takes three. Less than there was room for: nothing more is there,
 * or an event will say so (epoll(7), on edges), except for an end that has been announced already.
 */
static ssize_t copy_piece(struct pair *pair, int at, size_t most, bool *exhausted)
{
    static char piece[PIECE];
    struct side *from = &pair->sides[at], *to = &pair->sides[!at];
    if (most > sizeof piece) most = sizeof piece;
    ssize_t got = recv(from->watch.fd, piece, most, MSG_DONTWAIT);
    if (got <= 0) return got;
    from->bulk = got == sizeof piece;
    *exhausted = (size_t)got < most && !from->ending;
    count_bytes(pair, at, got);
    ssize_t sent = send(to->watch.fd, piece, got, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && !is_transient(errno)) to->lost = true;
    if (sent < 0) sent = 0;
    if (!to->lost && sent < got && !keep(&pair->held[at], piece + sent, got - sent)) from->lost = to->lost = true;
    return got;
}

/* Moves what there is of a stream that sends much. */
static ssize_t fill_pipe(struct pair *pair, int at, size_t most)
{
    struct side *from = &pair->sides[at];
    struct held *held = &pair->held[at];
    ssize_t moved = splice(from->watch.fd, NULL, held->pipe->ends[1], NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved <= 0) return moved;
    from->bulk = moved >= PIECE;
    held->bytes = moved;
    count_bytes(pair, at, moved);
    return moved;
}

/* Takes from a side of which nothing is held. Returns how much; 0: nothing more comes from there now. */
static size_t take(struct pair *pair, int at, bool *exhausted)
{
    struct side *from = &pair->sides[at], *to = &pair->sides[!at];
    struct held *held = &pair->held[at];
    if (from->ended || from->lost) return 0;
    ssize_t moved;
    if (to->lost || to->finished) {
        moved = discard(from);
    } else {
        size_t most = may_carry(meter_of(pair, at), &from->turn);
        if (!most) return 0;
        if (most > CHUNK) most = CHUNK;
        bool pipe = from->bulk && most > PIECE && (held->pipe || (held->pipe = take_pipe()));
        moved = pipe ? fill_pipe(pair, at, most) : copy_piece(pair, at, most, exhausted);
    }
    if (moved == 0) from->ended = true;
    if (moved < 0 && !is_transient(errno)) from->lost = true;
    return moved > 0 ? moved : 0;
}

/* Gives the other side what is held. False: it takes no more now. */
static bool drain(struct pair *pair, int at)
{
    struct side *to = &pair->sides[!at];
    struct held *held = &pair->held[at];
    while (held->bytes) {
        ssize_t moved = -1;
        if (!to->lost && held->rest)
            moved = send(to->watch.fd, held->rest + held->at, held->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (!to->lost)
            moved = splice(held->pipe->ends[0], NULL, to->watch.fd, NULL, held->bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (moved > 0) {
            held->at += moved;
            held->bytes -= moved;
        } else if (!to->lost && moved < 0 && is_transient(errno)) {
            return false;
        } else {
            to->lost = true;
            drop_held(held);
        }
    }
    free(held->rest);
    held->rest = NULL;
    return true;
}

static void move(struct pair *pair, int at)
{
    struct side *from = &pair->sides[at], *to = &pair->sides[!at];
    size_t moved = 0;
    bool exhausted = false;
    while (drain(pair, at) && !exhausted) {
        if (moved >= TURN) {
            call_again(&from->watch);
            break;
        }
        size_t bytes = take(pair, at, &exhausted);
        if (!bytes) break;
        moved += bytes;
    }
    if (pair->held[at].bytes) return;
    drop_held(&pair->held[at]);
    if (from->ended && !to->finished && !to->lost) {
        to->finished = true;
        (void)shutdown(to->watch.fd, SHUT_WR);
    }
}

static bool all_taken(const struct side *side)
{
    int left = 0;
    return ioctl(side->watch.fd, SIOCOUTQ, &left) < 0 || left == 0;
}

/* One side is gone. The other gets what was said last, then a reset or an end. */
static void part(struct pair *pair, int gone)
{
    struct side *left = &pair->sides[!gone];
    if (!pair->deadline) pair->deadline = now + GONE_MS;
    if (pair->held[gone].bytes || left->finished) return;
    uint64_t heard = pair->sides[gone].heard;
    if ((heard && now - heard < LAST_WORDS_MS) || !all_taken(left)) {
        left->finished = true;
        (void)shutdown(left->watch.fd, SHUT_WR);
        /* What it sends from now on is dropped. */
        move(pair, !gone);
    } else {
        left->lost = true;
    }
}

static void settle(struct pair *pair)
{
    struct side *client = &pair->sides[CLIENT], *server = &pair->sides[SERVER];
    if (client->lost != server->lost) part(pair, client->lost ? CLIENT : SERVER);
    if (client->lost && server->lost) {
        abort_pair(pair);
        return;
    }
    bool client_done = client->lost || (client->ended && client->finished);
    bool server_done = server->lost || (server->ended && server->finished);
    if (client_done && server_done) end_pair(pair);
}

static void serve(struct pair *pair)
{
    move(pair, CLIENT);
    move(pair, SERVER);
    settle(pair);
}

static void start(struct pair *pair)
{
    pair->state = OPEN;
    pair->deadline = 0;
    serve(pair);
}

static void ready(struct watch *watch, uint32_t events)
{
    struct side *side = (struct side *)watch;
    struct pair *pair = side->pair;
    int at = side == &pair->sides[SERVER] ? SERVER : CLIENT;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side->ending = true;
    if (pair->state == OPEN && !events) {
        serve(pair);
    } else if (pair->state == OPEN) {
        /* It was reset after it had sent its end. */
        if ((events & EPOLLHUP) && side->ended && !side->finished) side->lost = true;
        if (events & ~EPOLLOUT) move(pair, at);
        if (pair->held[!at].bytes) move(pair, !at);
        settle(pair);
    } else if (pair->state == CONNECTING && at == SERVER) {
        int error = 0;
        union address peer;
        socklen_t length = sizeof error, room = sizeof peer;
        if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error)
            abort_pair(pair);
        else if (!getpeername(watch->fd, &peer.any, &room))
            start(pair);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        /* The client has given up. */
        abort_pair(pair);
    }
}

/* There are bytes in the meter that a side has waited for. */
static void go_on(struct turn *turn)
{
    struct side *side = (struct side *)((char *)turn - offsetof(struct side, turn));
    struct pair *pair = side->pair;
    move(pair, side == &pair->sides[SERVER] ? SERVER : CLIENT);
    settle(pair);
}

struct pair *make_pair(int client, struct owner *owner, bool inward)
{
    struct pair *pair = NULL;
    if (owner && !may_open(owner, DESCRIPTORS)) {
        tell_full();
        owner = NULL;
    }
    if (!owner || !(pair = calloc(1, sizeof *pair))) {
        reset_socket(client);
        return NULL;
    }
    pair->owner = owner;
    pair->inward = inward;
    for (int at = CLIENT; at <= SERVER; at++)
        pair->sides[at] = (struct side){.watch = {.fd = -1, .ready = ready}, .turn = {.go = go_on}, .pair = pair};
    pair->sides[CLIENT].watch.fd = client;
    if (!start_watching(&pair->sides[CLIENT].watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
        reset_socket(client);
        free(pair);
        return NULL;
    }
    owner->flows++;
    note_open(owner, DESCRIPTORS);
    TAILQ_INSERT_TAIL(&all, pair, of_all);
    return pair;
}

static bool set_server(struct pair *pair, int fd)
{
    struct watch *watch = &pair->sides[SERVER].watch;
    watch->fd = fd;
    return start_watching(watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void dial_pair(struct pair *pair, const union address *server, const union address *source, uint64_t patience_ms)
{
    int fd = dial(pair->inward, SOCK_STREAM, server, source, 0);
    pair->state = CONNECTING;
    pair->deadline = now + patience_ms;
    if (fd < 0 || !set_server(pair, fd)) abort_pair(pair);
}

void join_pair(struct pair *pair, int server)
{
    if (set_server(pair, server))
        start(pair);
    else
        abort_pair(pair);
}

void check_pairs(void)
{
    struct pair *pair = TAILQ_FIRST(&all);
    while (pair) {
        struct pair *next = TAILQ_NEXT(pair, of_all);
        if (pair->deadline && pair->deadline <= now)
            abort_pair(pair);
        else if (pair->state == OPEN && (pair->sides[CLIENT].lost || pair->sides[SERVER].lost))
            serve(pair);
        pair = next;
    }
}
