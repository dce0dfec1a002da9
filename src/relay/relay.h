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

/* Milliseconds and microseconds of a clock that does not jump, as of the beginning of this round of events. */
extern uint64_t now, now_us;

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

/* rates.c: how fast bytes may be carried. */
struct meter;

/* Somebody who waits for bytes in a meter. */
struct turn {
    void (*go)(struct turn *);
    /* NULL: it does not wait. */
    struct meter *at;
    TAILQ_ENTRY(turn) next;
};

struct meter {
    /* Bytes a second; 0: as fast as it goes. */
    uint64_t rate;
    /* In millionths of a byte. Below 0: more was carried than was there. */
    int64_t tokens;
    uint64_t filled;
    TAILQ_HEAD(turns, turn) waiting;
    unsigned waiters;
    /* Whose turn it is. */
    struct turn *served;
    TAILQ_ENTRY(meter) next;
};

void open_meter(struct meter *);
void set_rate(struct meter *, uint64_t rate);
/* How many bytes of a stream may be carried now. 0: the turn is called when it is its turn. */
size_t may_carry(struct meter *, struct turn *);
void carried(struct meter *, size_t bytes);
/* Whether a packet may pass; then it counts. */
bool may_pass(struct meter *, size_t bytes);
void leave_queue(struct turn *);
/* Calls those whose turn it is. */
void serve_rates(void);
/* How long until then, at most so many milliseconds. */
int rates_wait_ms(int most);

/* owners.c: the containers' addresses, and what each has used. */
struct flow;
struct owner {
    union address host;
    /* Bytes that the container received and sent, and flows that began, since they were last told. */
    uint64_t in, out, flows;
    /* At this moment. */
    unsigned descriptors, datagrams, echoes;
    /* How fast it may receive and send. */
    struct meter to, from;
    /* 0: its network's. */
    uint64_t own_rate;
    uint64_t seen;
    TAILQ_HEAD(flows, flow) oldest_first;
    SLIST_ENTRY(owner) next;
};

/* NULL when there are too many. */
struct owner *owner_of(const union address *);
/* Bytes a second in each direction, for a network's containers or for one of them; 0: no rate of its own. False: there are too many. */
bool set_rates(const struct range *, uint64_t rate);
/* Tells of those that have used something since the last time. */
void tell_used(void (*tell)(const struct owner *));
/* Whether it may open so many more. */
bool may_open(const struct owner *, unsigned descriptors);
/* It has opened so many; negative: closed. */
void note_open(struct owner *, int descriptors);
/* Something was refused by may_open(). */
void tell_full(void);
void check_owners(void);

/* How much may be open at a time, by the number of descriptors that the system allows. */
struct limits {
    unsigned descriptors, pipes;
    unsigned datagrams_each, echoes_each;
};

extern struct limits limits;
void set_limits(void);

/* destinations.c: what containers may reach through the relay. */
enum verdict { ALLOWED, REFUSED, UNREACHABLE };

void open_destinations(void);
enum verdict destination_verdict(const union address *to, bool stream);
/* The networks inside, in place of those before. The base of each range is the gateway's address there. */
void clear_inside(void);
bool add_inside(const struct range *);
/* The gateway's address on that container's network. */
bool gateway_of(const union address *container, union address *gateway);

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
    /* For bytes of its container's meter. */
    struct turn turn;
    struct pair *pair;
    /* It sends much at a time. */
    bool bulk;
    /* An event has said that its end or a reset has come, or will be read. */
    bool ending;
    /* It has sent its end. */
    bool ended;
    /* Our end was sent to it. */
    bool finished;
    /* It cannot be used any more. */
    bool lost;
    /* When it last said something. */
    uint64_t heard;
};

/* What one side has sent and the other has not taken yet: in a pipe, or from `at` on in memory of its own. */
struct held {
    struct pipe *pipe;
    char *rest;
    size_t at, bytes;
};

struct pair {
    struct side sides[2];
    /* From each side. */
    struct held held[2];
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
/*
 * A connected UDP socket, or a TCP socket that is connecting. -1 and errno on failure. `hops`: those that a container's packet has left, which
 * is to be told what the network says about it (see complaints.c); 0: nobody is to be told.
 */
int dial(bool inside, int type, const union address *server, const union address *source, int hops);
/* What a TCP connection is to have. What is accepted has it from its listener. */
void prepare_stream(int fd);
/* How many routers the packets of a socket may pass; 0: as many as usual. */
void set_hops(int fd, int family, int hops);
/* Whether a container sends with so few hops that it wants to know about the way, as traceroute does. */
bool is_probing(int hops);

/* receive.c: datagrams as they come. */
struct datagram {
    union address from;
    /* Where it was sent to, as far as the socket tells; otherwise AF_UNSPEC. */
    union address to;
    /* Hops that it has left; 0: not known. */
    int hops;
    /* It must not be divided on its way. */
    bool whole;
    char *data;
    size_t length;
};

/* Takes what a socket has received, but not for ever. `error` is told the number of each error. */
void receive_datagrams(int fd, void *whom, void (*take)(void *whom, const struct datagram *), void (*error)(void *whom, int number));
/* For datagrams of a socket, `to` and `hops` are to be known. */
void ask_for_details(int fd, int family);
/* Sends from that address of the machine, AF_UNSPEC for any. */
ssize_t send_datagram(int fd, const struct datagram *);

/* complaints.c: what the network says about packets of a socket. */
struct complaint {
    /* Of the ICMP or ICMPv6 message. */
    uint8_t type, code;
    /* The MTU, if it is about that. */
    uint32_t mtu;
    /* Who says it; AF_UNSPEC: this machine. */
    union address from;
    /* Of the packet that it is about: the beginning of its data. */
    char data[256];
    size_t length;
};

/* The socket keeps them for next_complaint(). */
void keep_complaints(int fd, int family, bool on);
bool next_complaint(int fd, struct complaint *);
/* Whether containers are told of such an ICMP message. */
bool is_passed_on(int family, uint8_t type);
/* Tells a container what is said about its packet, which began like this. */
void pass_on_complaint(const struct complaint *, const uint8_t *packet, size_t length, const union address *container);
/* Tells it that the packet has come to the end of its way at the gateway. */
void expire_at_gateway(const uint8_t *packet, size_t length, const union address *container);

/* outward.c: what containers send to the world outside. */
void open_outward(void);
/* Where the rules of the inner namespace bring what containers send: a port of its loopback, the same for TCP and UDP. 0: none. */
uint16_t outward_port(void);

/* openings.c: connections of containers that wait for the other side. */
/* `packet` is the container's SYN, with so many hops left. */
void note_opening(const uint8_t *packet, size_t length, const union address *from, const union address *to, int hops);
/* The connection that was made for them; -1: none. */
int take_opening(const union address *from, const union address *to);
void check_openings(void);

/* echoes.c: ICMP echo. */
void open_echoes(void);
/* `packet` is an echo request of a container, with an IP header of that length and so many hops left. */
void note_echo(const uint8_t *packet, size_t length, size_t header, const union address *from, const union address *to, int hops);
/* Tells a client of the machine's address `here` that nobody is at the UDP port. */
void tell_client_unreachable(const union address *client, const union address *here);
void check_echoes(void);

/* packets.c: whole packets for the inner namespace. */
/* Sends it as if it had just come in from a card, so that it is received there. */
void bring_in(const uint8_t *packet, size_t length);
/* Answers a SYN: nobody is there. */
void send_reset(const uint8_t *syn, const union address *from, const union address *to);
enum why { WHY_HOST, WHY_PORT, WHY_FORBIDDEN };
/* Tells `to` that its packet, which began like this, did not get anywhere. In the name of `from`, where it was sent to. */
void send_unreachable(const uint8_t *packet, size_t length, const union address *from, const union address *to, enum why);
/* Any ICMP error; `info` is its second word. */
void send_error(const union address *from, const union address *to, uint8_t type, uint8_t code, uint32_t info, const uint8_t *packet, size_t length);
/* A UDP packet as errors quote it: its headers, and the beginning of its data. Returns the length. */
#define UDP_QUOTE 256
size_t quote_udp(uint8_t quote[UDP_QUOTE], const union address *from, const union address *to, const char *data, size_t length);
/* The addresses of a packet, and how long its header is. */
void addresses_of(const uint8_t *packet, union address *from, union address *to, size_t *header);
size_t put_header(uint8_t *packet, const union address *from, const union address *to, uint8_t protocol, size_t length);
/* For a UDP packet of `to`. */
void send_udp_unreachable(const union address *from, const union address *to, enum why);
uint16_t internet_checksum(const void *data, size_t length);
/* Sends an ICMP message; its checksum is made here. */
void send_icmp(const union address *from, const union address *to, uint8_t *message, size_t length);

/* lines.c: what the porter says. */
void open_lines(void);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

#endif
