/* The first root of a guest's kernel: what the host writes into it (initramfs.c), and the names by which the guest finds it. */
#ifndef ESTIBA_INITRAMFS_H
#define ESTIBA_INITRAMFS_H

#include "plan.h"

#define GUEST_INIT "/init"
#define GUEST_PLAN "/plan"       /* of session 0 */
#define GUEST_MODULES "/modules" /* files 0, 1, ...: what the kernel has as modules and cannot do without */
#define GUEST_ALONE "/alone"     /* on a disk that boots without a host: whether the program has a terminal (0 or 1), its stop signal */
#define GUEST_ENTROPY "/entropy" /* random numbers of the host, for this start alone */

enum { ENTROPY = 64 }; /* bytes of random numbers for a guest */

/* Writes the file that the operation `machine` names. */
void make_initramfs(const struct op *op);

#endif
