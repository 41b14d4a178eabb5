/* Parks a guest that has booted: QEMU writes its state to a file, from which other machines of the same parts begin (machine_park.c). */
#ifndef ESTIBA_MACHINE_PARK_H
#define ESTIBA_MACHINE_PARK_H

/* At the end of a file that is whole: a start finds it there or does not use the file. */
#define PARK_MARK "\nESTIBA PARKED\n"

/* Begins: `monitor` is QEMU's control socket, `file` where the state goes; the file `disk` goes to `disk_copy` unless that is -1. */
void park_begin(int monitor, int file, const char *disk, int disk_copy);
/* Takes what the control socket has; true when the guest goes on, with or without a file. */
bool park_goes_on(int monitor);

#endif
