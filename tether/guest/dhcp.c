/*
 * See dhcp.h. A card without an address sends and receives by a packet socket, past the container's packet filter; it is open only while
 * an answer is waited for.
 */
#include "dhcp.h"
#include "network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_WAIT_MS 30000
#define LONGEST_TRY_MS 8000
#define DISCOVER 1
#define OFFER 2
#define REQUEST 3
#define ACK 5
#define NAK 6

static struct client {
  char name[IFNAMSIZ];
  pid_t pid;
} clients[MAX_NICS];

struct request {
  struct iphdr ip;
  struct udphdr udp;
  uint8_t bootp[240], options[64];
} __attribute__((packed));

static uint16_t checksum(const void *data, size_t length) {
  uint32_t sum = 0;
  for (const uint8_t *at = data; length > 1; at += 2, length -= 2) sum += (uint32_t)at[0] << 8 | at[1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons((uint16_t)~sum);
}

static uint8_t *option(uint8_t *at, uint8_t kind, const void *value, uint8_t size) {
  *at++ = kind, *at++ = size;
  memcpy(at, value, size);
  return at + size;
}

/* Broadcast, and asks for a broadcast answer: the card need not have its address yet. */
static bool send_message(int fd, int interface, const unsigned char mac[6], uint32_t number, uint8_t kind, const struct lease *wanted) {
  static const uint8_t asked[] = {1, 3, 51, 54}, cookie[] = {99, 130, 83, 99};
  struct request m = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .daddr = 0xffffffffu}, .udp = {.source = htons(68), .dest = htons(67)}};
  const uint32_t order = htonl(number);
  m.ip.tot_len = htons(sizeof m);
  m.ip.check = checksum(&m.ip, sizeof m.ip);
  m.udp.len = htons(sizeof m - sizeof m.ip);
  m.bootp[0] = 1, m.bootp[1] = 1, m.bootp[2] = 6, m.bootp[10] = 0x80;
  memcpy(m.bootp + 4, &order, 4);
  memcpy(m.bootp + 28, mac, 6);
  memcpy(m.bootp + 236, cookie, 4);
  uint8_t *at = option(m.options, 53, &kind, 1);
  at = option(at, 55, asked, sizeof asked);
  if (kind == REQUEST) {
    at = option(at, 50, &wanted->address, 4);
    if (wanted->server.s_addr != 0) at = option(at, 54, &wanted->server, 4);
  }
  *at = 255;
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_IP), .sll_ifindex = interface, .sll_halen = 6};
  memset(to.sll_addr, 0xff, 6);
  return sendto(fd, &m, sizeof m, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)sizeof m;
}

/* The first fitting answer within the time; 0: there was none. */
static uint8_t await(int fd, uint32_t number, const unsigned char mac[6], uint64_t until, struct lease *lease) {
  uint8_t packet[2048];
  for (uint64_t now; (now = monotonic_ms()) < until;) {
    struct pollfd one = {fd, POLLIN, 0};
    if (poll(&one, 1, (int)(until - now)) <= 0) continue;
    ssize_t n = recv(fd, packet, sizeof packet, 0);
    uint8_t kind = n <= 0 ? 0 : dhcp_read(packet, (size_t)n, number, mac, lease);
    if (kind != 0) return kind;
  }
  return 0;
}

/* One attempt; `lease` is the one to renew, or has no address. A late answer to the attempt before, of the same number, counts too. */
static bool try_once(int interface, const unsigned char mac[6], uint32_t number, uint64_t ms, struct lease *lease) {
  struct lease offered = *lease, given;
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_IP), .sll_ifindex = interface};
  int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETHERTYPE_IP));
  bool done = false;
  if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0) {
    uint64_t until = monotonic_ms() + ms;
    bool offer = offered.address.s_addr != 0;
    if (!offer && send_message(fd, interface, mac, number, DISCOVER, NULL)) offer = await(fd, number, mac, until, &offered) == OFFER;
    uint8_t kind = 0;
    if (offer && send_message(fd, interface, mac, number, REQUEST, &offered))
      while ((kind = await(fd, number, mac, until, &given)) == OFFER) continue;
    done = kind == ACK;
    if (kind == NAK) lease->address.s_addr = 0; /* it is somebody else's now: begin anew */
  }
  if (fd >= 0) close(fd);
  if (done) *lease = given;
  return done;
}

static void sleep_until(uint64_t until) {
  for (uint64_t now; (now = monotonic_ms()) < until;) sleep_ms((unsigned)(until - now > 60000 ? 60000 : until - now));
}

static void __attribute__((noreturn)) serve(const char *name, const unsigned char mac[6], bool route, int report) {
  const int interface = (int)if_nametoindex(name);
  struct lease lease = {0};
  uint32_t number = 0;
  for (uint64_t ends = 0, ms = 1000;;) {
    bool had = lease.address.s_addr != 0;
    if (number == 0) getrandom(&number, sizeof number, 0);
    if (try_once(interface, mac, number, ms, &lease)) {
      number = 0;
      if (!apply_lease(name, &lease, route)) say("%s: an address from DHCP cannot be set: %s", name, cause());
      if (report >= 0 && write(report, &lease, sizeof lease) == (ssize_t)sizeof lease) close(report), report = -1;
      uint64_t began = monotonic_ms();
      ends = began + 1000u * (uint64_t)lease.seconds;
      ms = 1000;
      sleep_until(began + 500u * (uint64_t)lease.seconds); /* renewed at half its time, as usual */
      continue;
    }
    if (had && (lease.address.s_addr == 0 || monotonic_ms() >= ends)) {
      lease = (struct lease){0};
      apply_lease(name, &lease, false);
    }
    ms = ms * 2 > LONGEST_TRY_MS ? LONGEST_TRY_MS : ms * 2;
  }
}

const char *dhcp_begin(const char *name, const unsigned char mac[6], bool route, struct lease *lease) {
  struct client *c = clients;
  while (c < clients + MAX_NICS && c->pid != 0) c++;
  int report[2];
  if (c == clients + MAX_NICS || pipe2(report, O_CLOEXEC) != 0) return "no room for another DHCP client";
  pid_t pid = fork();
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(report[1], 3);
    close_range(4, ~0u, 0);
    network_forget();
    serve(name, mac, route, 3);
  }
  close(report[1]);
  struct pollfd one = {report[0], POLLIN, 0};
  bool given = pid > 0 && poll(&one, 1, MOST_WAIT_MS) == 1 && read(report[0], lease, sizeof *lease) == (ssize_t)sizeof *lease;
  close(report[0]);
  if (!given) {
    if (pid > 0) kill(pid, SIGKILL);
    return "no DHCP server has given the container an address";
  }
  strncpy(c->name, name, IFNAMSIZ - 1);
  c->pid = pid;
  return NULL;
}

void dhcp_end(const char *name) {
  for (struct client *c = clients; c < clients + MAX_NICS; c++) {
    if (c->pid == 0 || strcmp(c->name, name) != 0) continue;
    kill(c->pid, SIGKILL);
    *c = (struct client){0};
  }
}
