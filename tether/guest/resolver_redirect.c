/*
 * The resolver does not listen on port 53: a container may have a name server of its own, on all its addresses. In Docker, rules of the
 * firewall lead from 127.0.0.11:53 to ports that the kernel chose. Here the kernel asks a program at each connect and send of the
 * container's processes (linux/bpf.h, BPF_PROG_TYPE_CGROUP_SOCK_ADDR), which needs no module and costs nothing elsewhere.
 *
 * Only in the machine's own network namespace: one that a process of the container makes may have a 127.0.0.11 of its own.
 */
#include "resolver.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define DNS_PORT 53
#define LEAVES 0x7fff /* a jump to the end, whose distance is set last */

/* Whether it is asked before something goes out to an address, or when an address is shown; and of which family the socket is. */
static const struct hook {
  enum bpf_attach_type type;
  bool out, ipv6;
} hooks[REDIRECTS] = {
  {BPF_CGROUP_INET4_CONNECT, true, false},      {BPF_CGROUP_UDP4_SENDMSG, true, false},  {BPF_CGROUP_INET6_CONNECT, true, true},
  {BPF_CGROUP_UDP4_RECVMSG, false, false},      {BPF_CGROUP_UDP6_RECVMSG, false, true},  {BPF_CGROUP_INET4_GETPEERNAME, false, false},
  {BPF_CGROUP_INET6_GETPEERNAME, false, true},
};

static uint64_t own_namespace(void) {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) cookie = 0;
  if (fd >= 0) close(fd);
  return cookie;
}

#define MOST_STEPS 32

struct assembly {
  struct bpf_insn steps[MOST_STEPS];
  int count;
};

static void add(struct assembly *a, struct bpf_insn step) { a->steps[a->count++] = step; }

/* Leaves the program unless the field has this value. Fields are compared as they are in memory, without a sign. */
static void require(struct assembly *a, int16_t field, uint32_t value) {
  add(a, (struct bpf_insn){BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6, field, 0});
  add(a, (struct bpf_insn){BPF_JMP32 | BPF_K | BPF_JNE, BPF_REG_2, 0, LEAVES, (int32_t)value});
}

#define FIELD(name) offsetof(struct bpf_sock_addr, name)

static int load(const struct hook *hook, uint64_t cookie, uint16_t udp, uint16_t tcp) {
  struct assembly a = {.count = 0};
  add(&a, (struct bpf_insn){BPF_ALU64 | BPF_X | BPF_MOV, BPF_REG_6, BPF_REG_1, 0, 0});
  add(&a, (struct bpf_insn){BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_netns_cookie});
  add(&a, (struct bpf_insn){BPF_LD | BPF_DW | BPF_IMM, BPF_REG_2, 0, 0, (int32_t)cookie});
  add(&a, (struct bpf_insn){0, 0, 0, 0, (int32_t)(cookie >> 32)});
  add(&a, (struct bpf_insn){BPF_JMP | BPF_X | BPF_JNE, BPF_REG_0, BPF_REG_2, LEAVES, 0});
  if (hook->ipv6) { /* ::ffff:127.0.0.11, an address of IPv4 on a socket of IPv6 */
    require(&a, FIELD(user_ip6[0]), 0);
    require(&a, FIELD(user_ip6[1]), 0);
    require(&a, FIELD(user_ip6[2]), htonl(0xffff));
    require(&a, FIELD(user_ip6[3]), htonl(RESOLVER_ADDRESS));
  } else {
    require(&a, FIELD(user_ip4), htonl(RESOLVER_ADDRESS));
  }
  /* Register 3 is the resolver's port, and 4 that of DNS. */
  add(&a, (struct bpf_insn){BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6, FIELD(protocol), 0});
  add(&a, (struct bpf_insn){BPF_ALU64 | BPF_K | BPF_MOV, BPF_REG_3, 0, 0, tcp});
  add(&a, (struct bpf_insn){BPF_JMP | BPF_K | BPF_JNE, BPF_REG_2, 0, 1, IPPROTO_UDP});
  add(&a, (struct bpf_insn){BPF_ALU64 | BPF_K | BPF_MOV, BPF_REG_3, 0, 0, udp});
  add(&a, (struct bpf_insn){BPF_ALU64 | BPF_K | BPF_MOV, BPF_REG_4, 0, 0, htons(DNS_PORT)});
  add(&a, (struct bpf_insn){BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6, FIELD(user_port), 0});
  add(&a, (struct bpf_insn){BPF_JMP | BPF_X | BPF_JNE, BPF_REG_2, hook->out ? BPF_REG_4 : BPF_REG_3, LEAVES, 0});
  add(&a, (struct bpf_insn){BPF_STX | BPF_MEM | BPF_W, BPF_REG_6, hook->out ? BPF_REG_3 : BPF_REG_4, FIELD(user_port), 0});
  const int leave = a.count;
  add(&a, (struct bpf_insn){BPF_ALU64 | BPF_K | BPF_MOV, BPF_REG_0, 0, 0, 1}); /* it may go on */
  add(&a, (struct bpf_insn){BPF_JMP | BPF_EXIT, 0, 0, 0, 0});
  for (int i = 0; i < leave; i++)
    if (a.steps[i].off == LEAVES && a.steps[i].code != 0) a.steps[i].off = (int16_t)(leave - i - 1);
  union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR};
  attr.expected_attach_type = hook->type;
  attr.insns = (uint64_t)(uintptr_t)a.steps;
  attr.insn_cnt = (uint32_t)a.count;
  attr.license = (uint64_t)(uintptr_t) "";
  return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
}

static bool attach(int group, int program, enum bpf_attach_type type, bool on) {
  union bpf_attr attr = {0};
  attr.target_fd = (uint32_t)group;
  attr.attach_bpf_fd = (uint32_t)program;
  attr.attach_type = type;
  attr.attach_flags = on ? BPF_F_ALLOW_MULTI : 0;
  return syscall(SYS_bpf, on ? BPF_PROG_ATTACH : BPF_PROG_DETACH, &attr, sizeof attr) == 0;
}

void resolver_close(int programs[REDIRECTS]) {
  for (int i = 0; i < REDIRECTS; i++) {
    if (programs[i] >= 0) close(programs[i]);
    programs[i] = -1;
  }
}

void resolver_programs(uint16_t udp, uint16_t tcp, int programs[REDIRECTS]) {
  const uint64_t cookie = own_namespace();
  for (int i = 0; i < REDIRECTS; i++) programs[i] = -1;
  for (int i = 0; i < REDIRECTS; i++) {
    programs[i] = load(&hooks[i], cookie, udp, tcp);
    if (programs[i] >= 0) continue;
    resolver_close(programs);
    return;
  }
}

void resolver_redirect_end(int group, const int programs[REDIRECTS]) {
  for (int i = 0; i < REDIRECTS; i++) attach(group, programs[i], hooks[i].type, false);
}

bool resolver_redirect(int group, const int programs[REDIRECTS]) {
  for (int i = 0; i < REDIRECTS; i++) {
    if (attach(group, programs[i], hooks[i].type, true)) continue;
    int why = errno;
    resolver_redirect_end(group, programs);
    errno = why;
    return false;
  }
  return true;
}
