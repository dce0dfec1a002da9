/*
 * The relay of a virtual container host. main.c says what it is for and what it is told.
 *
 * "Inner" is the network namespace of the VCH's gateway, where its containers are; "outer" is the machine's. One thread does all the work: a
 * socket belongs to the namespace in which it was made, whoever uses it. inner.c has the second thread, which makes sockets in the inner one.
 */
#ifndef CAISSON_RELAY_H
#define CAISSON_RELAY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/types.h>

/* addresses.c: an address with a port, IPv4 or IPv6. */
union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/* Room for the text of an address. */
#define ADDRESS_TEXT 64

bool parse_address(const char *host, const char *port, union address *into);
socklen_t address_length(const union address *);
const char *address_text(const union address *, char text[ADDRESS_TEXT]);
uint16_t address_port(const union address *);
void set_address_port(union address *, uint16_t port);
/* The bytes of the address itself, in network order. */
const uint8_t *address_bytes(const union address *, size_t *length);
bool same_host(const union address *, const union address *);
bool same_address(const union address *, const union address *);
bool is_any(const union address *);
bool is_loopback(const union address *);
bool is_link_local(const union address *);
uint32_t hash_host(const union address *);
uint32_t hash_address(const union address *);

/* A range of addresses, as `10.0.0.0/8`. */
struct range {
    union address base;
    unsigned bits;
};

bool parse_range(const char *text, struct range *into);
bool in_range(const union address *, const struct range *);

/* loop.c: waits for descriptors. */
struct watch {
    int fd;
    void (*ready)(struct watch *, uint32_t events);
    bool queued;
    TAILQ_ENTRY(watch) next;
};

/* Milliseconds of a clock that does not jump, as of the beginning of this round of events. */
extern uint64_t now;

void open_loop(void);
/* False if the system refuses. `events` may include EPOLLET. */
bool start_watching(struct watch *, uint32_t events);
/* Closes the descriptor too. */
void end_watching(struct watch *);
/* Ends watching; the descriptor stays open and is returned. */
int hand_over(struct watch *);
/* Calls `ready` once more, with no events, after the others have had their turn. */
void call_again(struct watch *);
/* Frees memory at the end of this round: events for it may be on their way. */
void bury(void *);
/* Does one round, which waits for at most that many milliseconds. */
void turn_loop(int wait_ms);

/* failure.c */
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);
/* Something that somebody should know, said once for each `flag`. */
void tell_once(bool *flag, const char *what);
const char *error_name(int error);

/* inner.c: sockets of the inner namespace. */
struct inner {
    /* Whether there is one. If not, both namespaces are the same. */
    bool apart;
    /* Raw sockets, to send whole packets from any address: IPv4 and IPv6. -1: the machine does not allow it. */
    int raw[2];
    /* The like, for packets that are to be received in the namespace itself. */
    int bringing[2];
    /* Shows packets that the namespace's rules have logged and dropped. -1 likewise. */
    int log;
};

extern struct inner inner;

/* Starts its thread. `path` NULL: there is none. */
void enter_inner(const char *path, uid_t user);
/* A socket that does not block; one of the inner namespace may use any address. -1 and errno on failure. */
int make_socket(bool inside, int family, int type);

/* rights.c */
/* Makes this thread that user with a few capabilities. `user` 0: it stays what it is. */
void give_up_rights(uid_t user);
/* Installs a filter of system calls for all threads. */
void install_filter(void);

/* owners.c: the containers' addresses, and what each has used. */
struct flow;
struct owner {
    union address host;
    /* Bytes that the container received and sent. */
    uint64_t in, out;
    uint64_t flows;
    /* At this moment. */
    unsigned streams, openings, datagrams, echoes;
    TAILQ_HEAD(flows, flow) oldest_first;
    SLIST_ENTRY(owner) next;
};

/* NULL when there are too many. */
struct owner *owner_of(const union address *);
void each_owner(void (*told)(const struct owner *));

/* How much may be open at a time, by the number of descriptors that the system allows. */
struct limits {
    unsigned streams, streams_each;
    unsigned datagrams, datagrams_each;
    unsigned openings_each, echoes_each;
};

extern struct limits limits;
void set_limits(void);

/* destinations.c: what containers may reach through the relay. */
enum verdict { ALLOWED, REFUSED, UNREACHABLE };

void open_destinations(void);
enum verdict destination_verdict(const union address *from, const union address *to, bool stream);
/* policy.c: `from` is a container's. */
bool policy_refuses(const union address *from, const union address *to, bool stream);
/* The networks inside, in place of those before. */
void clear_inside(void);
bool add_inside(const struct range *);

/* ports.c: listening sockets that were asked for: published ports, and forwards. */
struct pair;
struct port {
    long id;
    bool stream;
    /* Published: from outside in. Otherwise from inside out. */
    bool inward;
    struct watch watch;
    union address at;
    bool aimed;
    union address target;
    /* Streams of it. */
    TAILQ_HEAD(pairs, pair) pairs;
    SLIST_ENTRY(port) next;
};

/* 0 or an error number; `port->at` gets the port that was chosen. */
int open_port(long id, bool stream, bool inward, union address at, struct port **made);
void aim_port(long id, const union address *target);
void close_port(long id);
/* Whether this VCH has published a port at that address of the machine. */
bool is_published(const union address *, bool stream);

/* pair.c: two connected streams. */
enum { CLIENT, SERVER };

struct side {
    struct watch watch;
    struct pair *pair;
    /* It has sent its end. */
    bool ended;
    /* Our end was sent to it. */
    bool finished;
    /* It cannot be used any more. */
    bool lost;
    /* When it last said something. */
    uint64_t heard;
};

struct pair {
    struct side sides[2];
    /* From each side: a pipe with what the other side has not taken yet. */
    struct pipe *held[2];
    size_t bytes[2];
    struct owner *owner;
    /* The server is the container. */
    bool inward;
    enum { WAITING, CONNECTING, OPEN } state;
    /* 0: none. */
    uint64_t deadline;
    struct port *port;
    TAILQ_ENTRY(pair) of_port;
    TAILQ_ENTRY(pair) of_all;
};

/* Takes over the client's socket. NULL when there are too many: then it was reset. */
struct pair *make_pair(int client, struct owner *, bool inward);
/* Connects with the server. `source` NULL: no particular one. */
void dial_pair(struct pair *, const union address *server, const union address *source, uint64_t patience_ms);
/* Takes over a connection with the server. */
void join_pair(struct pair *, int server);
/* Ends both connections with a reset. */
void abort_pair(struct pair *);
void reset_socket(int fd);
void check_pairs(void);

/* pipes.c */
struct pipe {
    int ends[2];
    SLIST_ENTRY(pipe) next;
};

struct pipe *take_pipe(void);
/* `empty` false: something is left in it. */
void put_pipe(struct pipe *, bool empty);

/* datagrams.c: UDP. */
void receive_for_port(struct port *);
void receive_outward(int fd);
/* Ends the flows of a port. */
void end_flows(struct port *);
void check_flows(void);

/* dial.c: connections from the relay. */
/* A connected UDP socket, or a TCP socket that is connecting. -1 and errno on failure. */
int dial(bool inside, int type, const union address *server, const union address *source);

/* outward.c: what containers send to the world outside. */
void open_outward(void);
/* Where the rules of the inner namespace bring what containers send: a port of its loopback, the same for TCP and UDP. 0: none. */
uint16_t outward_port(void);

/* openings.c: connections of containers that wait for the other side. */
/* `packet` is the container's SYN. */
void note_opening(const uint8_t *packet, size_t length, const union address *from, const union address *to);
/* The connection that was made for them; -1: none. */
int take_opening(const union address *from, const union address *to);
void check_openings(void);

/* echoes.c: ICMP echo. */
void open_echoes(void);
/* `message` is an echo request without its IP header. */
void note_echo(const uint8_t *message, size_t length, const union address *from, const union address *to);
void check_echoes(void);

/* packets.c: whole packets for the inner namespace. */
/* Sends it as if it had just come in from a card, so that it is received there. */
void bring_in(const uint8_t *packet, size_t length);
/* Answers a SYN: nobody is there. */
void send_reset(const uint8_t *syn, const union address *from, const union address *to);
enum why { WHY_HOST, WHY_PORT, WHY_FORBIDDEN };
/* Tells `to` that its packet, which began like this, did not get anywhere. In the name of `from`, where it was sent to. */
void send_unreachable(const uint8_t *packet, size_t length, const union address *from, const union address *to, enum why);
/* For a UDP packet that is no longer at hand. */
void send_udp_unreachable(const union address *from, const union address *to, enum why);
uint16_t internet_checksum(const void *data, size_t length);
/* Sends an ICMP message; its checksum is made here. */
void send_icmp(const union address *from, const union address *to, uint8_t *message, size_t length);

/* lines.c: what the porter says. */
void open_lines(void);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

#endif
