#define _GNU_SOURCE
#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

static const char *const kind_names[] = {[LAUNCH] = "launch", [NOT_FOUND] = "not-found", [CANNOT_EXECUTE] = "cannot-execute"};

static void print_to_stderr(const char *record, size_t size)
{
    (void)size;
    print_record(STDERR_FILENO, record);
}

static failure_sink *current_sink = print_to_stderr;
static const char *current_subject = "start container";
static int launch_status = EXIT_LAUNCH;

void set_failure_subject(const char *subject, int status)
{
    current_subject = subject;
    launch_status = status;
}

void set_failure_sink(failure_sink *sink)
{
    current_sink = sink;
}

/* What a user can do about an errno at a step, where one cause is by far the likeliest. */
static const struct {
    const char *step;
    int error;
    const char *hint;
} hints[] = {
    {"user_namespace", EPERM, "this machine forbids user namespaces; \"estiba doctor\" names the setting"},
    {"user_namespace", ENOSPC, "the limit user.max_user_namespaces is reached; \"estiba doctor\" names the setting"},
    {"user_namespace", EACCES, "this machine forbids user namespaces; \"estiba doctor\" names the setting"},
    {"namespaces", EPERM, "this machine forbids these namespaces; \"estiba doctor\" names the setting"},
    {"namespaces", ENOSPC, "a limit of /proc/sys/user is reached; \"estiba doctor\" names it"},
    {"idmap", EINVAL, "the file system does not support idmapped mounts; keep the store or volume on ext4, xfs, btrfs or tmpfs"},
    {"idmap", EPERM, "idmapped mounts need privilege over the file system; \"estiba doctor\" says what this machine allows"},
    {"uid_map", EPERM, "the range must be granted in /etc/subuid; \"estiba doctor\" checks it"},
    {"gid_map", EPERM, "the range must be granted in /etc/subgid; \"estiba doctor\" checks it"},
    {"overlay", EROFS, "the upper folder is on a read-only file system"},
    {"status", EAGAIN, "the container runs already"},
};

static const char *find_hint(const char *step, int error)
{
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
        if (hints[i].error == error && strcmp(hints[i].step, step) == 0)
            return hints[i].hint;
    return NULL;
}

/* U+200E, U+200F, U+2028 to U+202E and U+2066 to U+2069 turn the text behind them round or end its line (Unicode, UAX #9). */
static bool turns_text(const unsigned char *at)
{
    if (at[0] != 0xe2 || (at[1] != 0x80 && at[1] != 0x81))
        return false;
    return at[1] == 0x80 ? at[2] == 0x8e || at[2] == 0x8f || (at[2] >= 0xa8 && at[2] <= 0xae) : at[2] >= 0xa6 && at[2] <= 0xa9;
}

/* Control characters become question marks, also those from U+0080 to U+009F (ECMA-48, 5.3), of which U+009B begins a sequence as ESC [ does. */
void sanitize(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++) {
        if (*at == 0xc2 && (at[1] & 0xe0) == 0x80)
            at[1] = *at = '?';
        else if (turns_text(at))
            at[0] = at[1] = at[2] = '?';
        else if (*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
}

void fail(enum kind kind, const char *step, int error, const char *hint, const char *format, ...)
{
    char object[1024], record[MAX_RECORD];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(object, sizeof object, format, arguments);
    va_end(arguments);
    sanitize(object);
    if (hint == NULL)
        hint = find_hint(step, error);
    int size = snprintf(record, sizeof record, "%s %s %d %s%s%s%s%s\n", kind_names[kind], step, error, object, error ? ": " : "",
                        error ? strerror(error) : "", hint ? "\t" : "", hint ? hint : "");
    current_sink(record, (size_t)size < sizeof record ? (size_t)size : sizeof record - 1);
    _exit(record_status(record));
}

void fail_as(const char *record, size_t size)
{
    char copy[MAX_RECORD];
    size_t kept = size < sizeof copy - 1 ? size : sizeof copy - 2;
    char *hint;

    memcpy(copy, record, kept);
    copy[kept] = '\0';
    copy[strcspn(copy, "\n")] = '\0';
    hint = strchr(copy, '\t');
    sanitize(copy); /* the hint's tab too */
    if (hint != NULL)
        *hint = '\t';
    strcat(copy, "\n");
    current_sink(copy, strlen(copy));
    _exit(record_status(copy));
}

int record_status(const char *record)
{
    if (strncmp(record, "not-found ", 10) == 0)
        return EXIT_NOT_FOUND;
    if (strncmp(record, "cannot-execute ", 15) == 0)
        return EXIT_CANNOT_EXECUTE;
    return launch_status;
}

size_t record_sentence(const char *record, char *sentence, size_t size)
{
    const char *step = strchr(record, ' ');
    const char *number = step ? strchr(step + 1, ' ') : NULL;
    const char *text = number ? strchr(number + 1, ' ') : NULL;
    int length = text ? snprintf(sentence, size, "cannot %s: %.*s%.*s", current_subject, (int)(number - step - 1), step + 1,
                                 (int)strcspn(text, "\t\n"), text) : 0;

    return length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
}

void print_record(int fd, const char *record)
{
    char sentence[MAX_RECORD + 64];
    const char *tab = strchr(record, '\t');

    if (record_sentence(record, sentence, sizeof sentence) > 0)
        dprintf(fd, "estiba: %s\n", sentence);
    if (tab != NULL)
        dprintf(fd, "hint: %.*s\n", (int)strcspn(tab + 1, "\n"), tab + 1);
}
