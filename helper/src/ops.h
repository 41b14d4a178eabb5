/* Made by tools/generate_ops.py from helper/ops.toml. Edit that file, not this one. */
#ifndef ESTIBA_OPS_H
#define ESTIBA_OPS_H

#include <stdint.h>

#define PROTOCOL_VERSION 1
#define MAX_ARGUMENTS 14

enum side {SIDE_GUEST, SIDE_HOST, SIDE_CONTAINER, SIDE_AFTER, SIDE_UNPACK, SIDE_FILES};

enum {
    OP_SLOT = 1,
    OP_USER_NAMESPACE = 2,
    OP_NAMESPACES = 3,
    OP_IDMAP = 4,
    OP_CGROUP = 5,
    OP_STREAMS = 6,
    OP_CLIENT = 7,
    OP_LOG = 8,
    OP_STATUS = 9,
    OP_REPORT = 10,
    OP_TRACE = 11,
    OP_STOP_SIGNAL = 12,
    OP_LISTEN = 13,
    OP_CONNECT = 14,
    OP_DETACH_KEYS = 15,
    OP_JOIN = 17,
    OP_GUEST_READ = 18,
    OP_GUEST_PROGRAM = 19,
    OP_GUEST_FILES = 20,
    OP_CALLER = 21,
    OP_KEEP = 22,
    OP_JOIN_NAMESPACE = 23,
    OP_TIME_OFFSETS = 24,
    OP_GUEST_DIRECTORY = 25,
    OP_GUEST_MOUNT = 26,
    OP_GUEST_FILE = 27,
    OP_GUEST_SLOT = 28,
    OP_GUEST_CGROUP = 29,
    OP_JOIN_ROOT = 30,
    OP_CGROUP_DEVICES = 31,
    OP_OVERLAY = 32,
    OP_ROOT = 33,
    OP_MOUNT = 34,
    OP_BIND = 35,
    OP_HOST_BIND = 36,
    OP_DIRECTORY = 37,
    OP_SYMLINK = 38,
    OP_FILE = 39,
    OP_CONSOLE = 40,
    OP_MASK = 41,
    OP_READONLY = 42,
    OP_HOSTNAME = 43,
    OP_DOMAINNAME = 44,
    OP_LOOPBACK = 45,
    OP_SYSCTL = 46,
    OP_PIVOT = 47,
    OP_RLIMIT = 48,
    OP_OOM_SCORE_ADJ = 49,
    OP_BOUNDING = 50,
    OP_USER = 51,
    OP_CAPABILITIES = 52,
    OP_NO_NEW_PRIVILEGES = 53,
    OP_SECCOMP = 54,
    OP_WORKING_DIRECTORY = 55,
    OP_INIT = 56,
    OP_EXECUTE = 57,
    OP_READONLY_ROOT = 58,
    OP_VOLUME = 59,
    OP_BINFMT = 60,
    OP_MACHINE = 70,
    OP_MACHINE_EXECUTE = 71,
    OP_REST = 72,
    OP_HELD_FILE = 73,
    OP_CONTENT = 74,
    OP_WARM = 75,
    OP_FORGET = 96,
    OP_DISCARD = 97,
    OP_REMOVE_CGROUP = 98,
    OP_LEAVE_CGROUP = 99,
    OP_UNPACK_LAYER = 256,
    OP_UNPACK_DIRECTORY = 257,
    OP_UNPACK_FILE = 258,
    OP_UNPACK_OPEN = 259,
    OP_UNPACK_DATA = 260,
    OP_UNPACK_CLOSE = 261,
    OP_UNPACK_KNOWN = 262,
    OP_UNPACK_LINK = 263,
    OP_UNPACK_SYMLINK = 264,
    OP_UNPACK_FIFO = 265,
    OP_UNPACK_WHITEOUT = 266,
    OP_UNPACK_XATTR = 267,
    OP_UNPACK_ATTRIBUTES = 268,
    OP_UNPACK_ERASE = 269,
    OP_UNPACK_KEEP = 270,
    OP_UNPACK_SYNC = 271,
    OP_UNPACK_SHARE = 272,
    OP_UNPACK_READ = 273,
    OP_UNPACK_STAT = 274,
    OP_CONTAINER_ROOT = 288,
    OP_CONTAINER_MOUNT = 289,
    OP_UPPER_TREE = 290,
    OP_FILES_BASE = 291,
    OP_FILES_STAT = 292,
    OP_FILES_LIST = 293,
    OP_FILES_READ = 294,
    OP_FILES_MAKE = 295,
    OP_FILES_OPEN = 296,
    OP_FILES_XATTR = 297,
    OP_FILES_CLOSE = 298,
    OP_GUARD = 299,
    OP_HOLD = 320,
    OP_ASK = 321,
    OP_HOOK = 322,
    OP_FILE_SYSTEM = 323,
    OP_TREE = 324,
    OP_ATTRIBUTES = 325,
    OP_DEVICE = 326,
    OP_PROPAGATION = 327,
    OP_MOVE_ROOT = 329,
    OP_EVENTS = 330,
    OP_CHANGE_ROOT = 331,
    OP_ANNOUNCE = 332,
};

/* One argument. Strings end with a NUL that `size` does not count; a list's `data` is its encoded strings. */
union value {
    uint32_t u;
    uint64_t q;
    struct { const char *data; uint32_t size; } s, b;
    struct { const char *data; uint32_t count; } l;
};

union arguments {
    union value all[MAX_ARGUMENTS];
    struct { union value number, descriptor, path; } slot;
    struct { union value uid_map, gid_map, setgroups, newuidmap, newgidmap; } user_namespace;
    struct { union value flags; } namespaces;
    struct { union value slot, recursive; } idmap;
    struct { union value slot; } cgroup;
    struct { union value kind, stdin_, rows, columns; } streams;
    struct { union value attached, signal_proxy; } client;
    struct { union value slot, name, max_size, max_files; } log;
    struct { union value slot; } status;
    struct { union value slot; } report;
    struct { union value slot; } trace;
    struct { union value number; } stop_signal;
    struct { union value slot, name; } listen;
    struct { union value slot, name; } connect;
    struct { union value keys; } detach_keys;
    struct { union value pidfd, flags; } join;
    struct { union value patterns; } guest_read;
    struct { union value number; } guest_program;
    struct { union value write; } guest_files;
    struct { union value slot, keyring; } caller;
    struct { union value slot; } keep;
    struct { union value slot, kind; } join_namespace;
    struct { union value text; } time_offsets;
    struct { union value path, mode; } guest_directory;
    struct { union value fstype, source, target, flags, options, offset; } guest_mount;
    struct { union value path, mode, content; } guest_file;
    struct { union value number, path; } guest_slot;
    struct { union value number, name, limits, optional; } guest_cgroup;
    struct { union value slot; } join_root;
    struct { union value slot, program; } cgroup_devices;
    struct { union value layers, lowers, upper, volatile_, flags; } overlay;
    struct { union value slot, flags; } root;
    struct { union value fstype, target, flags, options; } mount;
    struct { union value slot, target, flags, recursive, propagation; } bind;
    struct { union value source, target, flags, recursive; } host_bind;
    struct { union value path, mode; } directory;
    struct { union value target, path; } symlink;
    struct { union value path, mode, content; } file;
    struct { union value path; } mask;
    struct { union value path; } readonly;
    struct { union value name; } hostname;
    struct { union value name; } domainname;
    struct { union value path, value; } sysctl;
    struct { union value resource, soft, hard; } rlimit;
    struct { union value value; } oom_score_adj;
    struct { union value capabilities; } bounding;
    struct { union value user, groups, umask, home; } user;
    struct { union value effective, permitted, inheritable, ambient; } capabilities;
    struct { union value filter, flags; } seccomp;
    struct { union value path; } working_directory;
    struct { union value arguments, environment; } execute;
    struct { union value slot, target, flags; } volume;
    struct { union value slot, rule; } binfmt;
    struct { union value arguments, environment, initramfs, init, modules, plan, seconds, discard, personality, park, one_processor, beginning, disk, park_disk; } machine;
    struct { union value plan, seconds; } machine_execute;
    struct { union value path; } held_file;
    struct { union value number, content; } content;
    struct { union value paths; } warm;
    struct { union value slot, name; } forget;
    struct { union value slot, name, trash, names; } discard;
    struct { union value slot, name; } remove_cgroup;
    struct { union value slot, name; } leave_cgroup;
    struct { union value folder, bytes, inodes; } unpack_layer;
    struct { union value path; } unpack_directory;
    struct { union value path, mode, uid, gid, mtime, nanoseconds, content; } unpack_file;
    struct { union value path; } unpack_open;
    struct { union value offset, content; } unpack_data;
    struct { union value size, mode, uid, gid, mtime, nanoseconds; } unpack_close;
    struct { union value path, key; } unpack_known;
    struct { union value path, target; } unpack_link;
    struct { union value path, target, uid, gid, mtime, nanoseconds; } unpack_symlink;
    struct { union value path, mode, uid, gid, mtime, nanoseconds; } unpack_fifo;
    struct { union value path; } unpack_whiteout;
    struct { union value path, name, value; } unpack_xattr;
    struct { union value path, mode, uid, gid, mtime, nanoseconds; } unpack_attributes;
    struct { union value path, directory; } unpack_erase;
    struct { union value path, number; } unpack_keep;
    struct { union value path, key; } unpack_share;
    struct { union value path, offset, length; } unpack_read;
    struct { union value path; } unpack_stat;
    struct { union value pidfd, user; } container_root;
    struct { union value target; } container_mount;
    struct { union value slot; } upper_tree;
    struct { union value tree, path; } files_base;
    struct { union value tree, path, follow; } files_stat;
    struct { union value tree, path; } files_list;
    struct { union value tree, path; } files_read;
    struct { union value kind, path, target, uid, gid, mode, mtime, nanoseconds; } files_make;
    struct { union value folder, path, size, uid, gid; } files_open;
    struct { union value name, value; } files_xattr;
    struct { union value mode, mtime, nanoseconds; } files_close;
    struct { union value slot, text; } guard;
    struct { union value path, arguments, environment, seconds, head, tail; } hook;
    struct { union value fstype, source, target, flags, copy, options; } file_system;
    struct { union value slot, target, recursive; } tree;
    struct { union value target, set, clear, propagation, recursive; } attributes;
    struct { union value path, mode, major, minor, uid, gid; } device;
    struct { union value flags; } propagation;
    struct { union value slot, name, start, oom, die, destroy, detach, resize; } events;
    struct { union value text; } announce;
};

struct schema { uint16_t code; uint8_t side; const char *name; const char *types; };

#ifdef OPS_TABLE /* only the decoder holds the table */
static const struct schema schemas[] = {
    {1, SIDE_HOST, "slot", "uus"},
    {2, SIDE_HOST, "user_namespace", "lluss"},
    {3, SIDE_HOST, "namespaces", "q"},
    {4, SIDE_HOST, "idmap", "uu"},
    {5, SIDE_HOST, "cgroup", "u"},
    {6, SIDE_HOST, "streams", "uuuu"},
    {7, SIDE_HOST, "client", "uu"},
    {8, SIDE_HOST, "log", "usqu"},
    {9, SIDE_HOST, "status", "u"},
    {10, SIDE_HOST, "report", "u"},
    {11, SIDE_HOST, "trace", "u"},
    {12, SIDE_HOST, "stop_signal", "u"},
    {13, SIDE_HOST, "listen", "us"},
    {14, SIDE_HOST, "connect", "us"},
    {15, SIDE_HOST, "detach_keys", "b"},
    {17, SIDE_HOST, "join", "uq"},
    {18, SIDE_GUEST, "guest_read", "l"},
    {19, SIDE_GUEST, "guest_program", "u"},
    {20, SIDE_GUEST, "guest_files", "u"},
    {21, SIDE_HOST, "caller", "uu"},
    {22, SIDE_HOST, "keep", "u"},
    {23, SIDE_HOST, "join_namespace", "uq"},
    {24, SIDE_HOST, "time_offsets", "s"},
    {25, SIDE_GUEST, "guest_directory", "su"},
    {26, SIDE_GUEST, "guest_mount", "sssqsq"},
    {27, SIDE_GUEST, "guest_file", "sub"},
    {28, SIDE_GUEST, "guest_slot", "us"},
    {29, SIDE_GUEST, "guest_cgroup", "usll"},
    {30, SIDE_HOST, "join_root", "u"},
    {31, SIDE_HOST, "cgroup_devices", "ub"},
    {32, SIDE_CONTAINER, "overlay", "uluuq"},
    {33, SIDE_CONTAINER, "root", "uq"},
    {34, SIDE_CONTAINER, "mount", "ssql"},
    {35, SIDE_CONTAINER, "bind", "usquq"},
    {36, SIDE_CONTAINER, "host_bind", "ssqu"},
    {37, SIDE_CONTAINER, "directory", "su"},
    {38, SIDE_CONTAINER, "symlink", "ss"},
    {39, SIDE_CONTAINER, "file", "sub"},
    {40, SIDE_CONTAINER, "console", ""},
    {41, SIDE_CONTAINER, "mask", "s"},
    {42, SIDE_CONTAINER, "readonly", "s"},
    {43, SIDE_CONTAINER, "hostname", "s"},
    {44, SIDE_CONTAINER, "domainname", "s"},
    {45, SIDE_CONTAINER, "loopback", ""},
    {46, SIDE_CONTAINER, "sysctl", "ss"},
    {47, SIDE_CONTAINER, "pivot", ""},
    {48, SIDE_CONTAINER, "rlimit", "uqq"},
    {49, SIDE_CONTAINER, "oom_score_adj", "q"},
    {50, SIDE_CONTAINER, "bounding", "q"},
    {51, SIDE_CONTAINER, "user", "sluu"},
    {52, SIDE_CONTAINER, "capabilities", "qqqq"},
    {53, SIDE_CONTAINER, "no_new_privileges", ""},
    {54, SIDE_CONTAINER, "seccomp", "bq"},
    {55, SIDE_CONTAINER, "working_directory", "s"},
    {56, SIDE_CONTAINER, "init", ""},
    {57, SIDE_CONTAINER, "execute", "ll"},
    {58, SIDE_CONTAINER, "readonly_root", ""},
    {59, SIDE_CONTAINER, "volume", "usq"},
    {60, SIDE_CONTAINER, "binfmt", "us"},
    {70, SIDE_CONTAINER, "machine", "llsslbuuuuubsu"},
    {71, SIDE_CONTAINER, "machine_execute", "bu"},
    {72, SIDE_CONTAINER, "rest", ""},
    {73, SIDE_CONTAINER, "held_file", "s"},
    {74, SIDE_CONTAINER, "content", "ub"},
    {75, SIDE_CONTAINER, "warm", "l"},
    {96, SIDE_AFTER, "forget", "us"},
    {97, SIDE_AFTER, "discard", "usuu"},
    {98, SIDE_AFTER, "remove_cgroup", "us"},
    {99, SIDE_AFTER, "leave_cgroup", "us"},
    {256, SIDE_UNPACK, "unpack_layer", "sqq"},
    {257, SIDE_UNPACK, "unpack_directory", "s"},
    {258, SIDE_UNPACK, "unpack_file", "suuuqub"},
    {259, SIDE_UNPACK, "unpack_open", "s"},
    {260, SIDE_UNPACK, "unpack_data", "qb"},
    {261, SIDE_UNPACK, "unpack_close", "quuuqu"},
    {262, SIDE_UNPACK, "unpack_known", "ss"},
    {263, SIDE_UNPACK, "unpack_link", "ss"},
    {264, SIDE_UNPACK, "unpack_symlink", "ssuuqu"},
    {265, SIDE_UNPACK, "unpack_fifo", "suuuqu"},
    {266, SIDE_UNPACK, "unpack_whiteout", "s"},
    {267, SIDE_UNPACK, "unpack_xattr", "ssb"},
    {268, SIDE_UNPACK, "unpack_attributes", "suuuqu"},
    {269, SIDE_UNPACK, "unpack_erase", "su"},
    {270, SIDE_UNPACK, "unpack_keep", "su"},
    {271, SIDE_UNPACK, "unpack_sync", ""},
    {272, SIDE_UNPACK, "unpack_share", "ss"},
    {273, SIDE_UNPACK, "unpack_read", "sqq"},
    {274, SIDE_UNPACK, "unpack_stat", "s"},
    {288, SIDE_CONTAINER, "container_root", "uu"},
    {289, SIDE_CONTAINER, "container_mount", "s"},
    {290, SIDE_CONTAINER, "upper_tree", "u"},
    {291, SIDE_FILES, "files_base", "us"},
    {292, SIDE_FILES, "files_stat", "usu"},
    {293, SIDE_FILES, "files_list", "us"},
    {294, SIDE_FILES, "files_read", "us"},
    {295, SIDE_FILES, "files_make", "ussuuuqu"},
    {296, SIDE_FILES, "files_open", "usquu"},
    {297, SIDE_FILES, "files_xattr", "sb"},
    {298, SIDE_FILES, "files_close", "uqu"},
    {299, SIDE_HOST, "guard", "us"},
    {320, SIDE_CONTAINER, "hold", ""},
    {321, SIDE_CONTAINER, "ask", ""},
    {322, SIDE_CONTAINER, "hook", "sllubb"},
    {323, SIDE_CONTAINER, "file_system", "sssqul"},
    {324, SIDE_CONTAINER, "tree", "usu"},
    {325, SIDE_CONTAINER, "attributes", "sqqqu"},
    {326, SIDE_CONTAINER, "device", "suuuuu"},
    {327, SIDE_CONTAINER, "propagation", "q"},
    {329, SIDE_CONTAINER, "move_root", ""},
    {330, SIDE_HOST, "events", "usssssss"},
    {331, SIDE_CONTAINER, "change_root", ""},
    {332, SIDE_HOST, "announce", "s"},
};
#endif

#endif
