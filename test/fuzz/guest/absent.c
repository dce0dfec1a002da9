/* Functions of the guest that no fuzzer calls, for those that are linked all the same. */
#include <stdlib.h>

#define ABSENT(name) void __attribute__((weak)) name(void); void name(void) { abort(); }
ABSENT(process_become)
ABSENT(process_give_up)
ABSENT(process_set_own_score)
ABSENT(program_load)
ABSENT(program_setup)
ABSENT(report_fd)
ABSENT(rpc_get)
ABSENT(rpc_set)
ABSENT(rpc_tell)
ABSENT(setup_bound)
ABSENT(trace_mark)
ABSENT(trace_tell)
ABSENT(unmount_root)
