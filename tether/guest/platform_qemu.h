/* What the two files of QEMU's platform share. */
#ifndef PLATFORM_QEMU_H
#define PLATFORM_QEMU_H

#define QEMU_RPC_PORT "guestrpc"
int qemu_open_rpc(int flags); /* -1: there is no such port */

#endif
