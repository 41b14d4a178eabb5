/* Who the program runs as, by the container's own /etc/passwd and /etc/group (passwd(5), group(5)): files of a stranger, read by this
 * parser inside the container, never by a library with plug-ins (hardening W5). */
#define _GNU_SOURCE
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base.h"
#include "container.h"
#include "resolve.h"
#include "sys.h"

enum { MAX_FILE = 4 << 20, MAX_GROUPS = 1024, NAME_FIELD = 0, PASSWD_UID = 2, PASSWD_GID = 3, PASSWD_HOME = 5, GROUP_GID = 2, MEMBERS = 3 };

static const uint64_t max_id = 0xfffffffe; /* the last one means "no change" (setresuid(2)) */

struct field {
    const char *text;
    size_t size;
};

static bool same(struct field field, struct field text)
{
    return field.size == text.size && memcmp(field.text, text.text, text.size) == 0;
}

static struct field field_of(const char *text)
{
    return (struct field){text, strlen(text)};
}

static bool id_of(struct field field, uint32_t *id)
{
    uint64_t number;

    if (!parse_number(field.text, field.size, max_id, &number))
        return false;
    *id = (uint32_t)number;
    return true;
}

/* The file's text, empty when it is missing or no regular file. */
static char *read_table(struct container *self, const char *path)
{
    struct stat status;
    autoclose fd = resolve(self->accounts >= 0 ? self->accounts : self->root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    char *text;

    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return (char *)memset(allocate(1), 0, 1);
    if (status.st_size > MAX_FILE)
        fail(LAUNCH, "user", EFBIG, NULL, "%s", path);
    text = allocate((size_t)status.st_size + 1);
    ssize_t size = read_all(fd, text, (size_t)status.st_size);
    text[size > 0 ? size : 0] = '\0';
    return text;
}

/* The next line of a table, as its first `count` fields; false at the end. Lines with fewer fields are passed over. */
static bool next_line(const char **position, struct field *fields, size_t count)
{
    while (**position != '\0') {
        const char *at = *position, *end = at + strcspn(at, "\n");
        size_t found = 0;
        *position = *end ? end + 1 : end;
        for (; found < count; found++) {
            const char *colon = memchr(at, ':', (size_t)(end - at));
            fields[found] = (struct field){at, (size_t)((colon ? colon : end) - at)};
            if (colon == NULL) {
                found++;
                break;
            }
            at = colon + 1;
        }
        if (found == count)
            return true;
    }
    return false;
}

static bool is_member(struct field members, struct field name)
{
    const char *at = members.text, *end = members.text + members.size;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct field member = {at, (size_t)((comma ? comma : end) - at)};
        if (same(member, name))
            return true;
        at += member.size + 1;
    }
    return false;
}

/* A number is always an id, never a name: an image could call its root "1000" (CVE-2016-3697). */
static uint32_t find_group(const char *table, struct field wanted)
{
    struct field fields[GROUP_GID + 1];
    uint32_t id;

    if (id_of(wanted, &id))
        return id;
    while (next_line(&table, fields, ARRAY_SIZE(fields)))
        if (same(fields[NAME_FIELD], wanted) && id_of(fields[GROUP_GID], &id))
            return id;
    fail(LAUNCH, "user", 0, NULL, "group %.*s: no such group in the container's /etc/group", (int)wanted.size, wanted.text);
}

struct identity {
    uint32_t uid, gid, groups[MAX_GROUPS];
    size_t count;
    struct field name; /* empty for a number without a line in passwd */
    struct field home;
};

static void find_user(struct container *self, struct field wanted, struct identity *who)
{
    const char *table = read_table(self, "/etc/passwd");
    struct field fields[PASSWD_HOME + 1];
    uint32_t id;
    bool numeric = id_of(wanted, &who->uid);

    while (next_line(&table, fields, ARRAY_SIZE(fields))) {
        if (!id_of(fields[PASSWD_UID], &id) || !(numeric ? id == who->uid : same(fields[NAME_FIELD], wanted)))
            continue;
        who->uid = id;
        if (!id_of(fields[PASSWD_GID], &who->gid))
            who->gid = 0;
        who->name = fields[NAME_FIELD];
        who->home = fields[PASSWD_HOME];
        return;
    }
    if (!numeric)
        fail(LAUNCH, "user", 0, NULL, "%.*s: no such user in the container's /etc/passwd", (int)wanted.size, wanted.text);
}

static void add_group(struct identity *who, uint32_t gid)
{
    if (who->count == MAX_GROUPS)
        fail(LAUNCH, "user", E2BIG, NULL, "more than %d groups", MAX_GROUPS);
    who->groups[who->count++] = gid;
}

static void add_memberships(const char *table, struct identity *who)
{
    struct field fields[MEMBERS + 1];
    uint32_t id;

    while (next_line(&table, fields, ARRAY_SIZE(fields)))
        if (id_of(fields[GROUP_GID], &id) && is_member(fields[MEMBERS], who->name))
            add_group(who, id);
}

static void look_up(struct container *self, const struct op *op, struct identity *who)
{
    const char *user = op->args.user.user.s.data, *colon = strchr(user, ':');
    struct field name = {user, colon ? (size_t)(colon - user) : strlen(user)};
    const char *groups = read_table(self, "/etc/group"), *position = NULL, *group;
    uint32_t index = 0;

    find_user(self, name.size ? name : field_of("0"), who);
    if (colon != NULL && colon[1] != '\0')
        who->gid = find_group(groups, field_of(colon + 1));
    else if (who->name.size > 0)
        add_memberships(groups, who);
    while ((group = list_next(&op->args.user.groups, &position, &index)) != NULL)
        add_group(who, find_group(groups, field_of(group)));
}

static const char range_hint[] = "the id is outside the range that the container has";

static bool is_null(int fd)
{
    struct stat status, null;

    return fstat(fd, &status) == 0 && stat("/dev/null", &null) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == null.st_rdev;
}

/* /dev/stdout of another user's program; a device of the host keeps its owner. Streams of the caller may be on a file system that
 * lets nobody change it. */
static void own_streams(const struct container *self, uint32_t uid)
{
    bool inherited = self->run->kind == STREAMS_INHERITED;

    for (int i = 0; i < 3; i++)
        if (self->streams[i] != self->null && !(inherited && is_null(self->streams[i])) &&
            fchown(self->streams[i], uid, (gid_t)-1) != 0 && !inherited)
            fail(LAUNCH, "user", errno, errno == EINVAL ? range_hint : NULL, "%u cannot own the streams", uid);
}

static void become(struct container *self, const struct identity *who)
{
    const struct op *asked = plan_find(self->plan, OP_CAPABILITIES);

    /* Ambient and inheritable capabilities of a user that is not root must still be permitted after the change (capabilities(7)). */
    if (asked != NULL && (asked->args.capabilities.ambient.q | asked->args.capabilities.inheritable.q) != 0 && prctl(PR_SET_KEEPCAPS, 1) != 0)
        fail(LAUNCH, "user", errno, NULL, "the capabilities cannot be kept");
    own_streams(self, who->uid);
    if (!self->groups_denied && setgroups(who->count, who->groups) != 0)
        fail(LAUNCH, "user", errno, NULL, "supplementary groups");
    if (setresgid(who->gid, who->gid, who->gid) != 0)
        fail(LAUNCH, "user", errno, range_hint, "group %u", who->gid);
    if (setresuid(who->uid, who->uid, who->uid) != 0)
        fail(LAUNCH, "user", errno, range_hint, "user %u", who->uid);
}

void op_user(struct container *self, const struct op *op)
{
    static struct identity who;

    look_up(self, op, &who);
    if (self->groups_denied && op->args.user.groups.l.count > 0)
        fail(LAUNCH, "user", EPERM, "supplementary groups need subordinate ids; \"estiba doctor\" says how to get them",
             "supplementary groups");
    become(self, &who);
    umask((mode_t)op->args.user.umask.u);
    self->uid = who.uid;
    self->gid = who.gid;
    self->wants_home = op->args.user.home.u != 0;
    if (who.home.size > 0)
        self->home = strndup(who.home.text, who.home.size);
}
