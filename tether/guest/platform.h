/*
 * What differs between hypervisors. There is one implementation, QEMU's (platform_qemu.c and platform_qemu_rpc.c); one for VMware would
 * stand beside it with another list of modules in ../image/build.ts: pvscsi and vmxnet3 instead of virtio, the host's GuestRPC through
 * the backdoor instead of a port, and serial ports as /dev/ttyS*. Everything above this header knows virtual hardware only by what
 * vSphere calls it: SCSI disk bus:unit, network card by number, serial port by purpose.
 *
 * All of it is called by PID 1 only, from one thread. Nothing here may fail in a way that stops the tether: a device that is missing is
 * NULL or -1, and the caller says so.
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include "common.h"

#include <net/if.h>

/* ---- devices ---- */

/* Returns once the host's devices are there, or after five seconds. */
void platform_wait_for_devices(void);

/* Looks at all disks that are there now, so that platform_disk finds them without looking again. */
void platform_find_disks(void);
/* The block device of the disk at this place; waits up to five seconds for it. NULL: there is none. Valid until the next call. */
const char *platform_disk(uint32_t bus, uint32_t unit);

/* What the kernel has called network card number `index` of the machine, in the host's order. */
void platform_nic(uint32_t index, char name[IFNAMSIZ]);
/* Whether an interface is a network card, and not something that software has made. */
bool platform_is_nic(const char *name);

/* ---- serial ports ---- */

enum platform_port { PORT_CHANNEL, PORT_LOG };

/*
 * Opens a port with these flags of open(2). -1: the machine has none. What is written goes out in order and is never cut; reading gives
 * 0 bytes, and poll POLLHUP, while nobody is at the other end. A port opened with O_ASYNC raises SIGIO when somebody comes or goes.
 * A port may tell late that its user was replaced by another: see channel.c.
 */
int platform_open_port(enum platform_port port, int flags);
/* The most that a port takes in one write. */
#define PORT_WRITE 32768u

/* ---- GuestRPC's transport; rpc.c has the requests ---- */

enum rpc_command { RPC_NONE, RPC_HALT, RPC_REBOOT, RPC_RESUME };

/*
 * Opens it. On a host that makes snapshots this is the sign that the machine may be saved: before it, nothing that belongs to one
 * machine alone has been taken in.
 */
void platform_rpc_open(void);
/* Returns once the host answers. */
void platform_rpc_wait(void);
/*
 * One request and its reply, `1 VALUE` or `0 message`, with a zero byte after its `length` bytes; the caller owns it. Asks again when
 * the host went away and came back. NULL: there was no answer in time, which a timeout below 0 waits for without end.
 */
char *platform_rpc_ask(const char *request, size_t size, size_t *length, int timeout_ms);
/* Sends a request whose reply nobody waits for. False: the host is away, and it was not sent. */
bool platform_rpc_post(const char *request, size_t size);
/* To poll for commands; -1: there is nothing to poll for now. */
int platform_rpc_fd(void);
/* The host may have come or gone: after SIGIO, and after POLLHUP. */
void platform_rpc_check(void);
/* The next command, once platform_rpc_fd() can be read; RPC_NONE: there is none. */
enum rpc_command platform_rpc_poll(void);

#endif
