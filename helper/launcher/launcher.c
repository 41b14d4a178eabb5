/* The command `estiba`: starts Python the short way.
 *
 *     python3 -I -S -X utf8 -c BOOT SITE ARGUMENTS...
 *
 * -S skips the search for site-packages (half of an interpreter's start); the one folder that holds estiba is handed over instead.
 * -I keeps PYTHON* variables and the current directory out; -X utf8 makes arguments survive any locale.
 *
 * Called `estiba-runtime` it is `estiba runtime`: engines that want an OCI runtime take the path of one program.
 *
 * The program finds everything from its own place, PREFIX/bin/estiba (/proc/self/exe, so symbolic links of pipx and uv are followed):
 *
 *     PREFIX/lib{,64}/python3.N/{site,dist}-packages/estiba   venv, pip --user, /usr/local, pyenv: PREFIX/bin/python3.N
 *     PREFIX/lib/python3/dist-packages/estiba                 a Debian package:                   PREFIX/bin/python3
 *
 * and the same name along PATH when the interpreter is not in PREFIX/bin. Where the package is not there as plain files (an
 * editable install), `python3 -P -m estiba` finds it by the interpreter's own means, some milliseconds later.
 *
 * Build: musl-gcc -std=c11 -O2 -Wall -Wextra -Werror -static -s launcher.c -o estiba
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Modules come out of one file where the build made it for this interpreter (estiba/modules.py), else out of the folder.
 * Ctrl-C while Python still imports must not print a traceback: 130 is what the command line itself answers. */
static const char BOOT[] =
    "import sys\n"
    "site=sys.argv.pop(1)\n"
    "sys.path.append(site)\n"
    "try:\n"
    " try:\n"
    "  import marshal,posix\n"
    "  file=posix.open(f'{site}/estiba/_bin/modules.{sys.implementation.cache_tag}',posix.O_RDONLY|posix.O_CLOEXEC)\n"
    "  index=marshal.loads(posix.read(file,1<<16))\n"
    "  exec(index.pop(''))\n"
    "  install(file,index,site)\n"
    " except (OSError,EOFError,ValueError,TypeError):\n"
    "  pass\n"
    " from estiba.cli.main import isolated\n"
    "except KeyboardInterrupt:\n"
    " sys.exit(130)\n"
    "isolated()\n";

struct installation {
    char site[PATH_MAX];    /* the folder that holds the package, or empty */
    char python[NAME_MAX + 1]; /* the interpreter's name, "python3.11" or "python3" */
    int minor;              /* 11 for 3.11; -1 for the unversioned folder */
};

__attribute__((format(printf, 3, 4)))
static bool join(char *out, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out, size, format, arguments);
    va_end(arguments);
    return length >= 0 && (size_t)length < size;
}

static bool exists(const char *path, int mode) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, mode) == 0;
}

/* PREFIX of PREFIX/bin/estiba. */
static bool find_prefix(char prefix[PATH_MAX]) {
    ssize_t length = readlink("/proc/self/exe", prefix, PATH_MAX - 1);
    if (length <= 0)
        return false;
    prefix[length] = '\0';
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(prefix, '/');
        if (slash == NULL)
            return false;
        *slash = '\0';
    }
    return true;
}

/* The minor version of a folder named "python3.N", -1 of "python3", -2 of any other. */
static int minor_of(const char *name) {
    int minor = 0, used = 0;
    if (strcmp(name, "python3") == 0)
        return -1;
    return sscanf(name, "python3.%3d%n", &minor, &used) == 1 && name[used] == '\0' ? minor : -2;
}

/* Looks for the package below PREFIX/LIB and keeps the newest Python's. */
static void search(const char *prefix, const char *lib, struct installation *found) {
    static const char *const folders[] = {"site-packages", "dist-packages"};
    char path[PATH_MAX], probe[PATH_MAX];
    if (!join(path, sizeof path, "%s/%s", prefix, lib))
        return;
    DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int minor = minor_of(entry->d_name);
        for (size_t i = 0; minor > -2 && i < 2; i++) {
            if (found->site[0] != '\0' && minor <= found->minor)
                continue;
            if (!join(path, sizeof path, "%s/%s/%s/%s", prefix, lib, entry->d_name, folders[i]) ||
                !join(probe, sizeof probe, "%s/estiba/cli/main.py", path) || !exists(probe, R_OK))
                continue;
            found->minor = minor;
            memcpy(found->site, path, sizeof found->site);
            snprintf(found->python, sizeof found->python, "%s", entry->d_name);
        }
    }
    closedir(directory);
}

/* The program NAME in PREFIX/bin, else along PATH. */
static bool find_program(const char *prefix, const char *name, char program[PATH_MAX]) {
    if (join(program, PATH_MAX, "%s/bin/%s", prefix, name) && exists(program, X_OK))
        return true;
    const char *folders = getenv("PATH");
    if (folders == NULL || folders[0] == '\0')
        folders = "/usr/local/bin:/usr/bin:/bin";
    while (*folders != '\0') {
        size_t length = strcspn(folders, ":");
        /* An empty or relative folder would let the current directory choose the interpreter. */
        if (length > 0 && folders[0] == '/' && join(program, PATH_MAX, "%.*s/%s", (int)length, folders, name) && exists(program, X_OK))
            return true;
        folders += length + (folders[length] == ':');
    }
    return false;
}

static bool is_runtime(const char *path) {
    static const char name[] = "estiba-runtime";
    const char *slash = strrchr(path, '/');
    return strcmp(slash != NULL ? slash + 1 : path, name) == 0;
}

static int run(const char *program, const char *const *leading, size_t count, char **arguments, int number) {
    const char **all = calloc(count + (size_t)number + 1, sizeof *all);
    if (all == NULL) {
        fputs("estiba: cannot start Python: out of memory\n", stderr);
        return 125;
    }
    /* An interrupt waits until the command can answer it (cli/main.py): Python's own start would print a traceback. */
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, NULL);
    memcpy(all, leading, count * sizeof *all);
    memcpy(all + count, arguments, (size_t)number * sizeof *all);
    execv(program, (char *const *)all);
    fprintf(stderr, "estiba: cannot start %s: %s\n", program, strerror(errno));
    free(all);
    return 125;
}

int main(int argc, char **argv) {
    char prefix[PATH_MAX], program[PATH_MAX];
    struct installation found = {.site = "", .python = "python3", .minor = -1};
    static char runtime[] = "runtime";
    int number = argc > 0 ? argc - 1 : 0;
    char **arguments = argv + (argc > 0);

    if (argc > 0 && is_runtime(argv[0])) {
        argv[0] = runtime;
        arguments = argv;
        number = argc;
    }

    if (!find_prefix(prefix)) {
        fputs("estiba: cannot find its own folder: /proc is not mounted\n", stderr);
        return 125;
    }
    search(prefix, "lib", &found);
    search(prefix, "lib64", &found);

    if (found.site[0] != '\0' && find_program(prefix, found.python, program)) {
        const char *const leading[] = {program, "-I", "-S", "-X", "utf8", "-c", BOOT, found.site};
        return run(program, leading, sizeof leading / sizeof *leading, arguments, number);
    }
    if (find_program(prefix, "python3", program)) {
        const char *const leading[] = {program, "-P", "-X", "utf8", "-m", "estiba"};
        return run(program, leading, sizeof leading / sizeof *leading, arguments, number);
    }
    fputs("estiba: cannot start: no python3 beside it or in PATH\nhint: as root: apt-get install python3\n", stderr);
    return 125;
}
