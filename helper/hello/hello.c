/*
 * The one program of the embedded image `hello`: says what the engine has just done, from what the kernel shows.
 *
 * Every figure is read inside the container (proc(5), uname(2), credentials(7)); none is handed in, so the program says
 * the same under any other engine. Freestanding of the container's file system: static, no locale, no NSS.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 65536 };

/* Reads a file of /proc into `text` (always terminated); an unreadable one gives an empty string. */
static void slurp(const char *path, char *text, size_t size)
{
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && length + 1 < size) {
        ssize_t n = read(fd, text + length, size - 1 - length);
        if (n <= 0)
            break;
        length += (size_t)n;
    }
    text[length] = '\0';
    if (fd >= 0)
        close(fd);
}

/* The mountinfo line of "/" (proc_pid_mountinfo(5): the fifth field); the last one is the one on top. */
static char *root_mount(char *mountinfo)
{
    char *found = NULL;

    for (char *line = strtok(mountinfo, "\n"); line; line = strtok(NULL, "\n")) {
        int at = 0;
        (void)sscanf(line, "%*s %*s %*s %*s / %n", &at);
        if (at > 0 && line[at - 1] == ' ') /* a blank in a format matches none as well: "/proc" is not "/" */
            found = line;
    }
    return found;
}

/* Lower layers in an overlay's options: `lowerdir+=a,lowerdir+=b` (Linux 6.7) or `lowerdir=a:b`, where `\:` is no separator. */
static int lower_layers(const char *options)
{
    int count = 0;

    for (const char *at = options; (at = strstr(at, "lowerdir+=")); at++)
        count++;
    const char *list = count ? NULL : strstr(options, "lowerdir=");
    if (list)
        count = 1;
    for (const char *at = list; at && *at && *at != ',' && *at != ' '; at++) {
        if (*at == '\\' && at[1])
            at++;
        else if (*at == ':')
            count++;
    }
    return count;
}

static void say(const char *label, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const char *label, const char *format, ...)
{
    va_list arguments;

    printf("  %-10s", label);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static void say_layers(char *buffer)
{
    slurp("/proc/self/mountinfo", buffer, PAGE);
    char *root = root_mount(buffer);
    char *options = root ? strstr(root, " - ") : NULL;

    if (!options || strncmp(options, " - overlay ", 11) != 0) {
        say("layers", "the root is one plain directory");
        return;
    }
    int lowers = lower_layers(options);
    bool writable = strstr(options, "upperdir=") != NULL;
    say("layers", "%d read-only from the image%s", lowers, writable ? ", 1 writable of this container's own" : "; nothing is writable");
}

static void say_user(char *buffer)
{
    unsigned long inside = 0, outside = 0, count = 0;

    slurp("/proc/self/uid_map", buffer, PAGE);
    int fields = sscanf(buffer, "%lu %lu %lu", &inside, &outside, &count);
    unsigned long uid = getuid();
    if (fields == 3 && uid >= inside && uid - inside < count && outside != inside)
        say("user", "uid %lu here, uid %lu on the host", uid, outside + (uid - inside));
    else
        say("user", "uid %lu", uid);
}

/* Milliseconds since this process began; field 22 of proc_pid_stat(5), in clock ticks after boot. Negative: unknown. */
static long age(char *buffer)
{
    unsigned long long start = 0;
    struct timespec now;

    slurp("/proc/self/stat", buffer, PAGE);
    char *fields = strrchr(buffer, ')');
    if (!fields || clock_gettime(CLOCK_BOOTTIME, &now) != 0 ||
        sscanf(fields + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &start) != 1)
        return -1;
    long ticks = sysconf(_SC_CLK_TCK);
    if (ticks <= 0)
        return -1;
    return (long)now.tv_sec * 1000 + now.tv_nsec / 1000000 - (long)(start * 1000 / (unsigned long long)ticks);
}

static void say_time(char *buffer)
{
    char text[64] = "";
    time_t now = time(NULL);
    struct tm utc;
    long milliseconds = age(buffer);

    if (gmtime_r(&now, &utc))
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc);
    if (milliseconds >= 0)
        say("time", "%s, about %ld ms after this process was made", text, milliseconds);
    else
        say("time", "%s", text);
}

int main(void)
{
    static char buffer[PAGE];
    struct utsname kernel;

    puts("Hello from a container.\n\nWhat just happened: estiba stacked the layers of an image into a root directory, gave a new");
    puts("process namespaces of its own, and executed this program in it. What the program sees:\n");
    say_layers(buffer);
    if (uname(&kernel) == 0) {
        say("kernel", "%s %s %s", kernel.sysname, kernel.release, kernel.machine);
        say("host name", "%s", kernel.nodename);
    }
    say_user(buffer);
    say("process", "pid %d%s", (int)getpid(), getpid() == 1 ? ", the first of its pid namespace" : "");
    say_time(buffer);
    puts("\nNext: estiba run -it alpine sh");
    return fflush(stdout) == 0 ? 0 : 1;
}
