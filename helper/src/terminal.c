#define _GNU_SOURCE
#include "terminal.h"

#include <errno.h>

bool terminal_raw(int fd, struct termios *before)
{
    struct termios raw;

    if (tcgetattr(fd, before) != 0)
        return false;
    raw = *before;
    cfmakeraw(&raw);
    return tcsetattr(fd, TCSANOW, &raw) == 0;
}

void terminal_restore(int fd, const struct termios *before)
{
    while (tcsetattr(fd, TCSADRAIN, before) != 0 && errno == EINTR)
        ;
}
