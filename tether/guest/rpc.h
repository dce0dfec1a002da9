/* GuestRPC: values that the host keeps for this machine, by key (rpc.c). */
#ifndef RPC_H
#define RPC_H

#include "common.h"

/* Waits for the host as long as it takes. NULL: it has no such key. The caller owns the value, which ends with a zero byte. */
char *rpc_get(const char *key, size_t *length);
/* False: it could not be set in time. A value that is too long is cut off. */
bool rpc_set(const char *key, const char *value, int timeout_ms);
/* Sets without waiting for the host's answer, unless the host is away. */
void rpc_tell(const char *key, const char *value);

#endif
