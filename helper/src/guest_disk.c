/* A guest's disks that have no fixed name: the machine that a disk boots on was not known when it was made. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "guest.h"

enum { PATIENCE_SECONDS = 20, SERIAL_PATIENCE_SECONDS = 10 }; /* hardware may be slow; QEMU has its disks from the beginning */

/* Documentation/ABI/testing/sysfs-block, `uevent`: a line PARTNAME= for a partition of a GPT. */
static bool is_named(const char *device, const char *name)
{
    char path[300], text[1024], wanted[128];
    int size = snprintf(wanted, sizeof wanted, "\nPARTNAME=%s\n", name);

    snprintf(path, sizeof path, "/sys/class/block/%s/uevent", device);
    autoclose fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);
    if (n < 0 || (size_t)size >= sizeof wanted)
        return false;
    text[n] = '\0';
    return strstr(text, wanted) != NULL;
}

/* virtio has it as text, ATA as a page behind four bytes and blanks (vital product data, SPC-4 7.8.15). */
static bool has_serial(const char *device, const char *serial)
{
    static const char *const files[] = {"serial", "device/vpd_pg80"};
    char path[300], text[256];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof path, "/sys/class/block/%s/%s", device, files[i]);
        autoclose fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);
        if (n <= 0)
            continue;
        char *end = memchr(text, '\n', (size_t)n), *begin = text + (i == 1 && n > 4 ? 4 : 0);
        *(end ? end : text + n) = '\0';
        begin += strspn(begin, " ");
        begin[strcspn(begin, " ")] = '\0';
        if (strcmp(begin, serial) == 0)
            return true;
    }
    return false;
}

static bool is_meant(const char *device, const char *name)
{
    if (strncmp(name, "SERIAL=", 7) == 0)
        return has_serial(device, name + 7);
    return is_named(device, strchr(name, '=') + 1);
}

static char *find(const char *name)
{
    DIR *devices = opendir("/sys/class/block");
    char *found = NULL;

    for (struct dirent *device = devices ? readdir(devices) : NULL; device != NULL && found == NULL; device = readdir(devices)) {
        if (device->d_name[0] == '.' || !is_meant(device->d_name, name))
            continue;
        found = allocate(strlen(device->d_name) + 6);
        sprintf(found, "/dev/%s", device->d_name);
    }
    if (devices != NULL)
        closedir(devices);
    return found;
}

const char *guest_disk(const char *name)
{
    uint64_t patience = strncmp(name, "SERIAL=", 7) == 0 ? SERIAL_PATIENCE_SECONDS : PATIENCE_SECONDS;
    uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + patience * UINT64_C(1000000000);
    char *found;

    while ((found = find(name)) == NULL) {
        if (clock_ns(CLOCK_MONOTONIC) >= deadline)
            fail(LAUNCH, "guest_mount", 0, "its kernel may lack the disk's driver", "this machine has no disk %s", name);
        usleep(10000);
    }
    return found;
}
