/* Calls each function of WASI preview 1 (but for sockets, fd_allocate and fd_fdstat_set_rights) in
   the empty, writable dir of its first argument, and holds the answers against what the interface
   says. Its further arguments are "one" and "two words"; its environment has COLOUR=blue. Says each
   answer that is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

static int root, wrong;

#define IS(got, expected) is(__LINE__, #got, (long long)(got), (long long)(expected))
#define OK(call) IS(call, __WASI_ERRNO_SUCCESS)
#define YES(what) IS(!!(what), 1)

static void is(int line, const char *what, long long got, long long expected) {
    if (got != expected) {
        wrong++;
        printf("line %d: %s is %lld, not %lld\n", line, what, got, expected);
    }
}

static int open_at(const char *path, __wasi_oflags_t how, __wasi_fdflags_t flags) {
    __wasi_fd_t fd = -1;
    __wasi_rights_t rights = how & __WASI_OFLAGS_DIRECTORY
                                 ? __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_PATH_OPEN
                                 : __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE |
                                       __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL |
                                       __WASI_RIGHTS_FD_FILESTAT_GET |
                                       __WASI_RIGHTS_FD_FILESTAT_SET_SIZE |
                                       __WASI_RIGHTS_FD_FILESTAT_SET_TIMES |
                                       __WASI_RIGHTS_FD_ADVISE | __WASI_RIGHTS_FD_ALLOCATE |
                                       __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_DATASYNC |
                                       __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS;
    __wasi_errno_t error = __wasi_path_open(root, 0, path, how, rights, rights, flags, &fd);
    return error ? -error : (int)fd;
}

static int make(const char *path) {
    return open_at(path, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, 0);
}

/* Writes a text and a mark behind it: an engine may take no more than the first part at once. */
static __wasi_size_t put(int fd, const char *text) {
    __wasi_ciovec_t parts[2] = {{(const uint8_t *)text, strlen(text)}, {(const uint8_t *)"!", 1}};
    __wasi_size_t first = 0, second = 0;
    OK(__wasi_fd_write(fd, parts, 2, &first));
    if (first == strlen(text))
        OK(__wasi_fd_write(fd, parts + 1, 1, &second));
    return first + second;
}

static void arguments_and_environment(void) {
    __wasi_size_t count, size;
    OK(__wasi_args_sizes_get(&count, &size));
    IS(count, 4);
    uint8_t *list[64], *bytes = malloc(size);
    OK(__wasi_args_get(list, bytes));
    YES(!strcmp((char *)list[2], "one") && !strcmp((char *)list[3], "two words"));
    OK(__wasi_environ_sizes_get(&count, &size));
    YES(count >= 1 && count <= 64);
    bytes = malloc(size);
    OK(__wasi_environ_get(list, bytes));
    int found = 0;
    for (__wasi_size_t i = 0; i < count; i++)
        found += !strcmp((char *)list[i], "COLOUR=blue");
    IS(found, 1);
}

static void clocks_and_random(void) {
    __wasi_timestamp_t one, two, step;
    uint8_t a[16] = {0}, b[16] = {0};
    for (int clock = 0; clock < 2; clock++) {
        OK(__wasi_clock_res_get(clock, &step));
        YES(step > 0 && step <= 1000000000);
        OK(__wasi_clock_time_get(clock, 1, &one));
        OK(__wasi_clock_time_get(clock, 1, &two));
        YES(clock == __WASI_CLOCKID_REALTIME || two >= one);
    }
    OK(__wasi_random_get(a, sizeof a));
    OK(__wasi_random_get(b, sizeof b));
    YES(memcmp(a, b, sizeof a));
    OK(__wasi_sched_yield());
}

static void reading_and_writing(void) {
    char text[32] = {0};
    __wasi_iovec_t into = {(uint8_t *)text, sizeof text - 1};
    __wasi_ciovec_t middle = {(const uint8_t *)"XY", 2};
    __wasi_size_t count = 0;
    __wasi_filesize_t at = 0;
    int fd = make("file");
    YES(fd > 2);
    IS(put(fd, "hello"), 6);
    OK(__wasi_fd_tell(fd, &at));
    IS(at, 6);
    OK(__wasi_fd_seek(fd, -2, __WASI_WHENCE_END, &at));
    IS(at, 4);
    OK(__wasi_fd_seek(fd, -1, __WASI_WHENCE_CUR, &at));
    IS(at, 3);
    OK(__wasi_fd_read(fd, &into, 1, &count));
    IS(count, 3);
    YES(!strcmp(text, "lo!"));
    OK(__wasi_fd_read(fd, &into, 1, &count));
    IS(count, 0);
    IS(__wasi_fd_seek(fd, -100, __WASI_WHENCE_CUR, &at), __WASI_ERRNO_INVAL);
    OK(__wasi_fd_pwrite(fd, &middle, 1, 1, &count));
    IS(count, 2);
    OK(__wasi_fd_tell(fd, &at));
    IS(at, 6);
    OK(__wasi_fd_pread(fd, &into, 1, 0, &count));
    IS(count, 6);
    YES(!strncmp(text, "hXYlo!", 6));
    OK(__wasi_fd_sync(fd));
    OK(__wasi_fd_datasync(fd));
    OK(__wasi_fd_advise(fd, 0, 6, __WASI_ADVICE_SEQUENTIAL));

    __wasi_filestat_t status;
    OK(__wasi_fd_filestat_get(fd, &status));
    IS(status.filetype, __WASI_FILETYPE_REGULAR_FILE);
    IS(status.size, 6);
    IS(status.nlink, 1);
    OK(__wasi_fd_filestat_set_size(fd, 3));
    OK(__wasi_fd_filestat_set_times(fd, 1000000000, 2000000000,
                                    __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM));
    OK(__wasi_fd_filestat_get(fd, &status));
    IS(status.size, 3);
    IS(status.atim, 1000000000);
    IS(status.mtim, 2000000000);

    __wasi_fdstat_t state;
    OK(__wasi_fd_fdstat_get(fd, &state));
    IS(state.fs_filetype, __WASI_FILETYPE_REGULAR_FILE);
    IS(state.fs_flags & __WASI_FDFLAGS_APPEND, 0);
    OK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_APPEND));
    OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    IS(put(fd, "more"), 5);
    OK(__wasi_fd_filestat_get(fd, &status));
    IS(status.size, 8);
    OK(__wasi_fd_close(fd));
    IS(__wasi_fd_close(fd), __WASI_ERRNO_BADF);
    IS(__wasi_fd_tell(fd, &at), __WASI_ERRNO_BADF);
}

static void opening(void) {
    __wasi_filestat_t status;
    IS(open_at("nothing", 0, 0), -__WASI_ERRNO_NOENT);
    IS(open_at("file", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, 0), -__WASI_ERRNO_EXIST);
    IS(open_at("file", __WASI_OFLAGS_DIRECTORY, 0), -__WASI_ERRNO_NOTDIR);
    IS(open_at("file/below", 0, 0), -__WASI_ERRNO_NOTDIR);
    int fd = open_at("file", __WASI_OFLAGS_TRUNC, 0);
    OK(__wasi_fd_filestat_get(fd, &status));
    IS(status.size, 0);
    /* A descriptor takes the place of another, which is closed. */
    int other = make("other");
    IS(put(other, "other"), 6);
    OK(__wasi_fd_renumber(other, fd));
    IS(__wasi_fd_filestat_get(other, &status), __WASI_ERRNO_BADF);
    OK(__wasi_fd_filestat_get(fd, &status));
    IS(status.size, 6);
    OK(__wasi_fd_close(fd));
}

static int names_in(const char *path, __wasi_size_t size) {
    uint8_t *buffer = malloc(size);
    __wasi_dircookie_t cookie = 0;
    __wasi_size_t used;
    int names = 0, fd = open_at(path, __WASI_OFLAGS_DIRECTORY, 0);
    do {
        __wasi_size_t at = 0;
        OK(__wasi_fd_readdir(fd, buffer, size, cookie, &used));
        while (at + sizeof(__wasi_dirent_t) <= used) {
            __wasi_dirent_t entry;
            memcpy(&entry, buffer + at, sizeof entry);
            const uint8_t *name = buffer + at + sizeof entry;
            at += sizeof entry + entry.d_namlen;
            if (at > used)
                break;
            cookie = entry.d_next;
            /* . and .. are there or not, as the engine likes. */
            names += name[0] != '.';
        }
    } while (used == size);
    OK(__wasi_fd_close(fd));
    free(buffer);
    return names;
}

static void dirs(void) {
    __wasi_filestat_t status;
    char name[16];
    OK(__wasi_path_create_directory(root, "folder"));
    IS(__wasi_path_create_directory(root, "folder"), __WASI_ERRNO_EXIST);
    OK(__wasi_path_filestat_get(root, 0, "folder", &status));
    IS(status.filetype, __WASI_FILETYPE_DIRECTORY);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "folder/n%d", i);
        OK(__wasi_fd_close(make(name)));
    }
    IS(names_in("folder", 4096), 20);
    /* A buffer that does not hold them all. */
    IS(names_in("folder", 64), 20);
    IS(__wasi_path_remove_directory(root, "folder"), __WASI_ERRNO_NOTEMPTY);
    YES(__wasi_path_unlink_file(root, "folder"));
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "folder/n%d", i);
        OK(__wasi_path_unlink_file(root, name));
    }
    IS(names_in("folder", 4096), 0);
    IS(__wasi_path_remove_directory(root, "file"), __WASI_ERRNO_NOTDIR);
    OK(__wasi_path_remove_directory(root, "folder"));
    IS(__wasi_path_filestat_get(root, 0, "folder", &status), __WASI_ERRNO_NOENT);
}

static void links_and_renames(void) {
    __wasi_filestat_t status;
    uint8_t text[32];
    __wasi_size_t used;
    OK(__wasi_path_symlink("other", root, "link"));
    OK(__wasi_path_readlink(root, "link", text, sizeof text, &used));
    IS(used, 5);
    YES(!memcmp(text, "other", 5));
    OK(__wasi_path_filestat_get(root, 0, "link", &status));
    IS(status.filetype, __WASI_FILETYPE_SYMBOLIC_LINK);
    OK(__wasi_path_filestat_get(root, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, "link", &status));
    IS(status.filetype, __WASI_FILETYPE_REGULAR_FILE);
    IS(status.size, 6);
    OK(__wasi_path_filestat_set_times(root, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, "link", 0, 7000000000,
                                      __WASI_FSTFLAGS_MTIM));
    OK(__wasi_path_filestat_get(root, 0, "other", &status));
    IS(status.mtim, 7000000000);
    IS(__wasi_path_readlink(root, "other", text, sizeof text, &used), __WASI_ERRNO_INVAL);
    OK(__wasi_path_unlink_file(root, "link"));

    OK(__wasi_path_link(root, 0, "other", root, "hard"));
    OK(__wasi_path_filestat_get(root, 0, "hard", &status));
    IS(status.nlink, 2);
    IS(__wasi_path_link(root, 0, "other", root, "hard"), __WASI_ERRNO_EXIST);
    OK(__wasi_path_unlink_file(root, "hard"));

    OK(__wasi_path_rename(root, "other", root, "file"));
    IS(__wasi_path_filestat_get(root, 0, "other", &status), __WASI_ERRNO_NOENT);
    OK(__wasi_path_filestat_get(root, 0, "file", &status));
    IS(status.size, 6);
    IS(__wasi_path_rename(root, "nothing", root, "file"), __WASI_ERRNO_NOENT);
    OK(__wasi_path_unlink_file(root, "file"));
    IS(__wasi_path_unlink_file(root, "file"), __WASI_ERRNO_NOENT);
    IS(names_in(".", 4096), 0);
}

static void polling(void) {
    __wasi_subscription_t wait = {.userdata = 42, .u.tag = __WASI_EVENTTYPE_CLOCK};
    __wasi_timestamp_t before, after;
    __wasi_event_t event;
    __wasi_size_t count;
    wait.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    wait.u.u.clock.timeout = 5000000;
    OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &before));
    OK(__wasi_poll_oneoff(&wait, &event, 1, &count));
    OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &after));
    IS(count, 1);
    IS(event.userdata, 42);
    OK(event.error);
    IS(event.type, __WASI_EVENTTYPE_CLOCK);
    YES(after - before >= 5000000);
}

/* The descriptor of the preopen with this name, which an engine may tell without its first slash. */
static int preopened(const char *name) {
    __wasi_prestat_t state;
    uint8_t text[256];
    for (int fd = 3; !__wasi_fd_prestat_get(fd, &state); fd++) {
        __wasi_size_t length = state.u.dir.pr_name_len;
        IS(state.tag, __WASI_PREOPENTYPE_DIR);
        YES(length > 0 && length < sizeof text);
        OK(__wasi_fd_prestat_dir_name(fd, text, length));
        int slash = text[0] == '/';
        if (length - slash == strlen(name + 1) && !memcmp(text + slash, name + 1, length - slash))
            return fd;
    }
    puts("there is no such preopen");
    exit(1);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    root = preopened(argv[1]);
    arguments_and_environment();
    clocks_and_random();
    reading_and_writing();
    opening();
    dirs();
    links_and_renames();
    polling();
    printf("%d answers are wrong\n", wrong);
    fflush(stdout);
    __wasi_proc_exit(wrong ? 1 : 0);
}
