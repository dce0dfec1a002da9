/* What a container finds in its root that its image does not bring: made before the container is known (prepare.c). */
#ifndef PREPARE_H
#define PREPARE_H

struct container;

/*
 * The control group, /sys and /dev of a container of the table, and memory for the files bound into it. Before a snapshot is made, so that
 * no start waits for it.
 */
void prepare_container(struct container *c);

#endif
