#define _GNU_SOURCE
#define OPS_TABLE
#include "plan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"

enum { HEADER = 16 };
static const char magic[8] = {'E', 'S', 'T', 'I', 'B', 'A', 0, PROTOCOL_VERSION};

static uint32_t get_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static const struct schema *find_schema(uint32_t code)
{
    for (size_t i = 0; i < ARRAY_SIZE(schemas); i++)
        if (schemas[i].code == code)
            return &schemas[i];
    return NULL;
}

struct reader {
    const char *next;
    size_t left;
};

static bool take(struct reader *reader, size_t size, const char **data)
{
    if (size > reader->left)
        return false;
    *data = reader->next;
    reader->next += size;
    reader->left -= size;
    return true;
}

static bool take_u32(struct reader *reader, uint32_t *number)
{
    const char *data;
    if (!take(reader, 4, &data))
        return false;
    *number = get_u32(data);
    return true;
}

static bool take_string(struct reader *reader, const char **text, uint32_t *size)
{
    return take_u32(reader, size) && take(reader, (size_t)*size + 1, text) && (*text)[*size] == '\0' &&
           memchr(*text, '\0', *size) == NULL;
}

static bool take_value(struct reader *reader, char type, union value *value)
{
    const char *data, *text;
    uint32_t size;

    switch (type) {
    case 'u':
        return take_u32(reader, &value->u);
    case 'q':
        if (!take(reader, 8, &data))
            return false;
        value->q = get_u32(data) | (uint64_t)get_u32(data + 4) << 32;
        return true;
    case 's':
        return take_string(reader, &value->s.data, &value->s.size);
    case 'b':
        return take_u32(reader, &value->b.size) && take(reader, value->b.size, &value->b.data);
    case 'l':
        if (!take_u32(reader, &value->l.count))
            return false;
        value->l.data = reader->next;
        for (uint32_t i = 0; i < value->l.count; i++)
            if (!take_string(reader, &text, &size))
                return false;
        return true;
    default:
        return false;
    }
}

size_t plan_decode_op(const char *data, size_t size, struct op *op, const char **reason)
{
    struct reader header = {data, size};
    const char *codes, *arguments;
    uint32_t length;

    if (!take(&header, 4, &codes) || !take_u32(&header, &length) || !take(&header, length, &arguments)) {
        *reason = "an operation is cut short";
        return 0;
    }
    uint32_t code = get_u32(codes); /* the upper half must be zero, so that an unknown code covers it */
    op->schema = find_schema(code);
    if (op->schema == NULL) {
        *reason = "an unknown operation";
        return 0;
    }
    struct reader reader = {arguments, length};
    for (size_t i = 0; op->schema->types[i] != '\0'; i++) {
        if (!take_value(&reader, op->schema->types[i], &op->args.all[i])) {
            *reason = "an argument is malformed";
            return 0;
        }
    }
    if (reader.left != 0) {
        *reason = "an operation has more arguments than its schema";
        return 0;
    }
    return OP_HEADER + (size_t)length;
}

static _Noreturn void refuse(const char *reason)
{
    fail(LAUNCH, "plan", 0, NULL, "%s", reason);
}

/* The whole file in memory of our own: what is checked is what is carried out, whatever the sender does to its copy. */
static const char *read_plan(int fd, size_t *size)
{
    off_t end = lseek(fd, 0, SEEK_END);

    if (end < 0 || lseek(fd, 0, SEEK_SET) != 0)
        fail(LAUNCH, "plan", errno, NULL, "descriptor %d", fd);
    if (end > MAX_PLAN)
        refuse("its size is not possible");
    char *data = allocate((size_t)end);
    ssize_t n = read_all(fd, data, (size_t)end);
    if (n != end)
        fail(LAUNCH, "plan", n < 0 ? errno : 0, NULL, "descriptor %d cannot be read", fd);
    *size = (size_t)end;
    return data;
}

static void bind_slot(struct plan *plan, const struct op *op)
{
    uint32_t number = op->args.slot.number.u, fd = op->args.slot.descriptor.u;

    if (number >= MAX_SLOTS)
        refuse("a slot's number is too large");
    if (plan->slots[number].fd >= 0)
        refuse("a slot is bound twice");
    if (fd < 3 || fd > 0x7fffffff || fcntl((int)fd, F_GETFD) < 0)
        fail(LAUNCH, "slot", 0, NULL, "%u: descriptor %u is not open", number, fd);
    plan->slots[number] = (struct slot){.fd = (int)fd, .path = op->args.slot.path.s.data};
}

static void mark_idmapped(struct plan *plan, const struct op *op)
{
    uint32_t number = op->args.idmap.slot.u;

    if (number >= MAX_SLOTS || plan->slots[number].fd < 0)
        refuse("idmap names a slot that is not bound");
    plan->slots[number].idmap = true;
    plan->slots[number].recursive = op->args.idmap.recursive.u != 0;
}

void plan_read(struct plan *plan, int fd, unsigned sides)
{
    size_t size;
    const char *data = read_plan(fd, &size);

    plan_decode(plan, data, size, sides);
}

void plan_decode(struct plan *plan, const char *data, size_t size, unsigned sides)
{
    size_t position = HEADER;
    const char *reason = NULL;
    uint8_t side = 0;

    if (size < HEADER)
        refuse("its size is not possible");
    for (size_t i = 0; i < MAX_SLOTS; i++)
        plan->slots[i] = (struct slot){.fd = -1, .path = ""};
    if (memcmp(data, magic, sizeof magic) != 0)
        refuse("it is not a plan of this version");
    if (get_u32(data + 8) != size)
        refuse("its length is not the one it states");
    plan->count = get_u32(data + 12);
    if (plan->count > (size - HEADER) / OP_HEADER)
        refuse("it states more operations than it holds");
    plan->ops = allocate(plan->count * sizeof *plan->ops);
    for (uint32_t i = 0; i < plan->count; i++) {
        struct op *op = &plan->ops[i];
        size_t taken = plan_decode_op(data + position, size - position, op, &reason);
        if (taken == 0)
            refuse(reason);
        position += taken;
        if (op->schema->side < side)
            fail(LAUNCH, "plan", 0, NULL, "%s is out of order", op->schema->name);
        side = op->schema->side;
        if ((sides >> side & 1) == 0)
            fail(LAUNCH, "plan", 0, NULL, "%s does not belong here", op->schema->name);
        if (op_is(op, OP_SLOT))
            bind_slot(plan, op);
        else if (op_is(op, OP_IDMAP))
            mark_idmapped(plan, op);
    }
    if (position != size)
        refuse("something follows its last operation");
}

int slot_descriptor(const struct plan *plan, uint32_t number)
{
    return number == NO_SLOT ? -1 : plan->slots[number].fd;
}

const struct op *plan_find(const struct plan *plan, uint16_t code)
{
    return plan->count > 0 && op_is(plan->ops, code) ? plan->ops : plan_next(plan, plan->ops, code);
}

const struct op *plan_next(const struct plan *plan, const struct op *op, uint16_t code)
{
    uint32_t i = (uint32_t)(op - plan->ops) + 1;

    for (; i < plan->count; i++)
        if (op_is(&plan->ops[i], code))
            return &plan->ops[i];
    return NULL;
}

const char *list_next(const union value *list, const char **position, uint32_t *index)
{
    if (*index == list->l.count)
        return NULL;
    const char *entry = *index == 0 ? list->l.data : *position;
    *position = entry + 4 + get_u32(entry) + 1;
    (*index)++;
    return entry + 4;
}

char **list_vector(const union value *list, size_t extra)
{
    char **vector = allocate((list->l.count + extra + 1) * sizeof *vector);
    const char *position = NULL, *text;
    uint32_t index = 0;

    for (size_t i = 0; (text = list_next(list, &position, &index)) != NULL; i++)
        vector[i] = (char *)(uintptr_t)text; /* execve(2) does not write, its type only says so */
    return vector;
}
