/* The file server (files.c). */
#ifndef FILES_H
#define FILES_H

#include "tether.h"


/* Starts a server; its requests come on `in`, its replies go to `out`. `flag` is for files_ended, once a process was started. */
struct started files_start(uint8_t view, pid_t container, volatile uint8_t **flag);

/* The server has ended: a freeze that it made ends too. */
void files_ended(volatile uint8_t *flag);

/* Ends whatever freeze there is. */
void files_thaw(void);

#endif
