/* Stubs of guest functions that no fuzzer calls, for files that are linked anyway. */
#include <stdlib.h>

#define ABSENT(name) void __attribute__((weak)) name(void); void name(void) { abort(); }
ABSENT(program_load)
ABSENT(rpc_get)
ABSENT(rpc_set)
ABSENT(rpc_tell)
ABSENT(trace_mark)
ABSENT(trace_tell)
ABSENT(unmount_root)
