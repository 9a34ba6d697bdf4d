/* Built for `wasi_unstable`, what came before WASI preview 1: prints its arguments but the first, and
   checks each call whose numbers or structures were others then. Takes a dir as second one. */
#include <stdint.h>
#include <string.h>

#define OF(name) __attribute__((import_module("wasi_unstable"), import_name(name)))

typedef struct {
    const void *start;
    uint32_t length;
} vector;

/* With a count of links in 32 bits. */
typedef struct {
    uint64_t device, inode;
    uint8_t kind;
    uint32_t links;
    uint64_t size, accessed, modified, changed;
} filestat;

OF("args_sizes_get") int args_sizes_get(uint32_t *count, uint32_t *bytes);
OF("args_get") int args_get(char **args, char *bytes);
OF("fd_write") int fd_write(int fd, const vector *vectors, uint32_t count, uint32_t *written);
OF("fd_seek") int fd_seek(int fd, int64_t offset, uint8_t whence, uint64_t *at);
OF("fd_close") int fd_close(int fd);
OF("fd_filestat_get") int fd_filestat_get(int fd, filestat *stat);
OF("path_filestat_get") int path_filestat_get(int fd, uint32_t flags, const char *path, uint32_t length,
                                              filestat *stat);
OF("path_open") int path_open(int dir, uint32_t lookup, const char *path, uint32_t length, uint16_t how,
                              uint64_t rights, uint64_t inherited, uint16_t flags, int *fd);
OF("path_unlink_file") int path_unlink_file(int dir, const char *path, uint32_t length);
OF("fd_prestat_dir_name") int fd_prestat_dir_name(int fd, char *name, uint32_t length);
OF("fd_prestat_get") int fd_prestat_get(int fd, uint32_t *prestat);
OF("proc_exit") _Noreturn void proc_exit(uint32_t code);

/* The order was another one. */
enum { FROM_HERE, FROM_END, FROM_START };
enum { REGULAR = 4, CREATE = 1, FOLLOW = 1, RIGHTS = (1 << 29) - 1 };

static char bytes[4096];
static char *args[64];

static void say(const char *text) {
    vector parts[] = {{text, strlen(text)}, {"\n", 1}};
    uint32_t written;
    for (int n = 0; n < 2; n++)
        if (fd_write(1, &parts[n], 1, &written))
            proc_exit(100);
}

/* The dir that is opened by this name. */
static int dir(const char *wanted) {
    for (int fd = 3;; fd++) {
        uint32_t prestat[2];
        char name[256];
        if (fd_prestat_get(fd, prestat))
            proc_exit(101);
        if (prestat[1] == strlen(wanted) && !fd_prestat_dir_name(fd, name, prestat[1])
            && !memcmp(name, wanted, prestat[1]))
            return fd;
    }
}

int main(void) {
    uint32_t count, size, written;
    uint64_t at;
    filestat stat;
    int fd;
    if (args_sizes_get(&count, &size) || count > 64 || size > sizeof bytes || args_get(args, bytes))
        proc_exit(102);
    for (uint32_t n = 1; n < count; n++)
        say(args[n]);
    int volume = dir(args[1]);
    if (path_open(volume, FOLLOW, "new", 3, CREATE, RIGHTS, RIGHTS, 0, &fd))
        proc_exit(103);
    vector text = {"twelve bytes", 12};
    if (fd_write(fd, &text, 1, &written) || written != 12)
        proc_exit(104);
    if (fd_seek(fd, -2, FROM_HERE, &at) || at != 10)
        proc_exit(105);
    if (fd_seek(fd, -3, FROM_END, &at) || at != 9)
        proc_exit(106);
    if (fd_seek(fd, 4, FROM_START, &at) || at != 4)
        proc_exit(107);
    if (fd_filestat_get(fd, &stat) || stat.size != 12 || stat.kind != REGULAR || stat.links != 1)
        proc_exit(108);
    memset(&stat, 0, sizeof stat);
    if (path_filestat_get(volume, FOLLOW, "new", 3, &stat) || stat.size != 12 || stat.links != 1)
        proc_exit(109);
    if (fd_close(fd) || path_unlink_file(volume, "new", 3))
        proc_exit(110);
    proc_exit(200);
}
