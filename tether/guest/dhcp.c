/*
 * See dhcp.h. A card without an address sends and receives by a packet socket, past the container's packet filter; it is open only while
 * an answer is waited for.
 */
#include "dhcp.h"

#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_TRY_MS 1000
#define LONGEST_TRY_MS 16000
#define RENEWAL_MS 4000
/* Between two attempts to renew a lease, RFC 2131, 4.4.5, but for those that are shorter. */
#define RENEWAL_PAUSE_MS 60000
#define DISCOVER 1
#define OFFER 2
#define REQUEST 3
#define ACK 5
#define NAK 6
#define RELEASE 7
#define LONGEST_NAME 63

/* A card's side of a conversation. */
struct card_end {
  int fd, interface;
  const unsigned char *mac;
  uint32_t number;
};

struct request {
  struct iphdr ip;
  struct udphdr udp;
  uint8_t bootp[240], options[128];
} __attribute__((packed));

static uint16_t checksum(const void *data, size_t length) {
  uint32_t sum = 0;
  for (const uint8_t *at = data; length > 1; at += 2, length -= 2) sum += (uint32_t)at[0] << 8 | at[1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons((uint16_t)~sum);
}

static uint8_t *option(uint8_t *at, uint8_t kind, const void *value, size_t size) {
  *at++ = kind, *at++ = (uint8_t)size;
  return mempcpy(at, value, size);
}

/* For a server that keeps names of its clients. */
static uint8_t *own_name(uint8_t *at) {
  char name[LONGEST_NAME + 1];
  if (gethostname(name, sizeof name) != 0) return at;
  name[LONGEST_NAME] = 0;
  size_t length = strcspn(name, ".");
  return length == 0 ? at : option(at, 12, name, length);
}

/*
 * `lease`: the one that is asked for. `held`: the card has it, so the message comes from its address. To everybody, unless `direct`: then to
 * the server alone. An answer may come to everybody, since the card need not have its address yet.
 */
static bool send_message(const struct card_end *end, uint8_t kind, const struct lease *lease, bool held, bool direct) {
  static const uint8_t asked[] = {1, 3, 6, 51, 54}, cookie[] = {99, 130, 83, 99};
  struct request m = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .daddr = 0xffffffffu}, .udp = {.source = htons(68), .dest = htons(67)}};
  const uint32_t order = htonl(end->number);
  uint8_t id[7] = {1};
  memcpy(id + 1, end->mac, 6);
  m.ip.tot_len = htons(sizeof m);
  if (held) m.ip.saddr = lease->address.s_addr;
  if (direct) m.ip.daddr = lease->server.s_addr;
  m.ip.check = checksum(&m.ip, sizeof m.ip);
  m.udp.len = htons(sizeof m - sizeof m.ip);
  m.bootp[0] = 1, m.bootp[1] = 1, m.bootp[2] = 6, m.bootp[10] = held ? 0 : 0x80;
  memcpy(m.bootp + 4, &order, 4);
  if (held) memcpy(m.bootp + 12, &lease->address, 4);
  memcpy(m.bootp + 28, end->mac, 6);
  memcpy(m.bootp + 236, cookie, 4);
  uint8_t *at = option(m.options, 53, &kind, 1);
  at = option(at, 61, id, sizeof id);
  if (kind != RELEASE) at = own_name(option(at, 55, asked, sizeof asked));
  if (kind == REQUEST && !held) at = option(at, 50, &lease->address, 4);
  if ((kind == RELEASE || (kind == REQUEST && !held)) && lease->server.s_addr != 0) at = option(at, 54, &lease->server, 4);
  *at = 255;
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_IP), .sll_ifindex = end->interface, .sll_halen = 6};
  if (direct) memcpy(to.sll_addr, lease->server_mac, 6);
  else memset(to.sll_addr, 0xff, 6);
  return sendto(end->fd, &m, sizeof m, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)sizeof m;
}

/* The first fitting answer within the time; 0: there was none. */
static uint8_t await(const struct card_end *end, uint64_t until, struct lease *lease) {
  uint8_t packet[2048];
  for (uint64_t now; (now = monotonic_ms()) < until;) {
    struct pollfd one = {end->fd, POLLIN, 0};
    if (poll(&one, 1, (int)(until - now)) <= 0) continue;
    struct sockaddr_ll from = {0};
    socklen_t size = sizeof from;
    ssize_t n = recvfrom(end->fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &size);
    uint8_t kind = n <= 0 ? 0 : dhcp_read(packet, (size_t)n, end->number, end->mac, lease);
    if (kind == 0) continue;
    memcpy(lease->server_mac, from.sll_addr, 6);
    return kind;
  }
  return 0;
}

static bool open_end(struct card_end *end) {
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_IP), .sll_ifindex = end->interface};
  end->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETHERTYPE_IP));
  return end->fd >= 0 && bind(end->fd, (struct sockaddr *)&at, sizeof at) == 0;
}

enum outcome { SILENCE, GIVEN, REFUSED };

static enum outcome of_kind(uint8_t kind) { return kind == ACK ? GIVEN : kind == NAK ? REFUSED : SILENCE; }

/* Asks for an address; each half of the conversation may take that long. */
static enum outcome ask_for_one(const struct card_end *end, uint64_t ms, struct lease *lease) {
  struct lease offered;
  uint8_t kind;
  if (!send_message(end, DISCOVER, lease, false, false)) return SILENCE;
  if (await(end, monotonic_ms() + ms, &offered) != OFFER || !send_message(end, REQUEST, &offered, false, false)) return SILENCE;
  uint64_t until = monotonic_ms() + ms;
  while ((kind = await(end, until, lease)) == OFFER) continue;
  return of_kind(kind);
}

/* First the server that gave the lease is asked, then all, as it may have gone. */
static enum outcome renew(const struct card_end *end, struct lease *lease) {
  struct lease given;
  enum outcome outcome = SILENCE;
  for (int direct = 1; outcome == SILENCE && direct >= 0; direct--)
    if (send_message(end, REQUEST, lease, true, direct != 0)) outcome = of_kind(await(end, monotonic_ms() + RENEWAL_MS, &given));
  if (outcome == GIVEN) *lease = given;
  return outcome;
}

static enum outcome attempt(struct card_end *end, uint64_t ms, struct lease *lease) {
  struct lease wanted = *lease;
  enum outcome outcome = SILENCE;
  /* An answer to this machine's own address would otherwise be answered by it with an error. */
  struct sockaddr_in port = {.sin_family = AF_INET, .sin_port = htons(68)};
  int taker = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (taker >= 0) bind(taker, (struct sockaddr *)&port, sizeof port);
  if (open_end(end)) outcome = lease->address.s_addr != 0 ? renew(end, &wanted) : ask_for_one(end, ms, &wanted);
  else sleep_ms((unsigned)ms);
  if (end->fd >= 0) close(end->fd);
  if (taker >= 0) close(taker);
  if (outcome == GIVEN) *lease = wanted;
  return outcome;
}

static void sleep_until(uint64_t until) {
  for (uint64_t now; (now = monotonic_ms()) < until;) sleep_ms((unsigned)(until - now > 60000 ? 60000 : until - now));
}

static bool same(const struct lease *a, const struct lease *b) {
  return a->address.s_addr == b->address.s_addr && a->prefix == b->prefix && a->router.s_addr == b->router.s_addr && a->server.s_addr == b->server.s_addr && memcmp(a->names, b->names, sizeof a->names) == 0;
}

static void tell(int news, const char *name, const struct lease *lease) {
  struct lease_news told = {.lease = *lease};
  strncpy(told.name, name, IFNAMSIZ - 1);
  if (write(news, &told, sizeof told) != (ssize_t)sizeof told) _exit(1);
}

static void __attribute__((noreturn)) serve(const char *name, const unsigned char mac[6], struct lease lease, int news) {
  struct card_end end = {.interface = (int)if_nametoindex(name), .mac = mac};
  uint64_t ends = monotonic_ms() + 1000u * (uint64_t)lease.seconds, ms = FIRST_TRY_MS;
  for (;;) {
    const struct lease before = lease;
    const uint64_t began = monotonic_ms();
    getrandom(&end.number, sizeof end.number, 0);
    enum outcome outcome = attempt(&end, ms, &lease);
    uint64_t now = monotonic_ms();
    if (outcome == GIVEN) {
      if (!same(&before, &lease)) tell(news, name, &lease);
      ends = now + 1000u * (uint64_t)lease.seconds;
      ms = FIRST_TRY_MS;
      sleep_until(now + 500u * (uint64_t)lease.seconds); /* renewed at half its time, as usual */
    } else if (before.address.s_addr == 0) {
      sleep_until(began + ms); /* a card that is down says at once that nothing can be sent */
      ms = ms * 2 > LONGEST_TRY_MS ? LONGEST_TRY_MS : ms * 2;
    } else if (outcome == REFUSED || now >= ends) {
      lease = (struct lease){0}; /* it is somebody else's now: begin anew */
      tell(news, name, &lease);
    } else {
      uint64_t pause = (ends - now) / 2;
      sleep_until(now + (pause > RENEWAL_PAUSE_MS ? RENEWAL_PAUSE_MS : pause < FIRST_TRY_MS ? FIRST_TRY_MS : pause));
    }
  }
}

pid_t dhcp_start(const char *name, const unsigned char mac[6], const struct lease *held, int news) {
  const struct lease lease = *held;
  pid_t pid = fork();
  if (pid != 0) return pid;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  dup2(news, 3);
  close_range(4, ~0u, 0);
  serve(name, mac, lease, 3);
}

void dhcp_release(const char *name, const unsigned char mac[6], const struct lease *lease) {
  struct card_end end = {.interface = (int)if_nametoindex(name), .mac = mac};
  getrandom(&end.number, sizeof end.number, 0);
  if (lease->address.s_addr != 0 && lease->server.s_addr != 0 && open_end(&end)) send_message(&end, RELEASE, lease, true, true);
  if (end.fd >= 0) close(end.fd);
}
